package screen

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hinshun/vt10x"
	"pgregory.net/rapid"

	"touchmark/appliance/operator"
)

var update = flag.Bool("update", false, "write the golden screens anew: look at them before you commit them")

// terminal is a foreign terminal emulator with a face on it.
type terminal struct {
	vt      vt10x.Terminal
	painter Painter
	face    Face
	w, h    int
	now     time.Time
}

func newTerminal(w, h int) *terminal {
	return &terminal{vt: vt10x.New(vt10x.WithSize(w, h)), painter: Painter{Colour: Mono, Width: w}, w: w, h: h, now: start}
}

func (s *terminal) paint() Frame {
	f := s.face.Frame(s.w, s.h, s.now)
	_, _ = s.vt.Write(s.painter.Paint(f))
	s.face.Painted(f, s.now)
	return f
}

// vt10x's bits of Glyph.Mode.
const (
	glyphReverse = 1 << 0
	glyphBold    = 1 << 2
)

// text is what the emulator shows, each row behind a mark of its attributes.
func (s *terminal) text() string {
	var b strings.Builder
	s.vt.Lock()
	defer s.vt.Unlock()
	for y := range s.h {
		row := make([]rune, s.w)
		for x := range row {
			if row[x] = s.vt.Cell(x, y).Char; row[x] == 0 {
				row[x] = ' '
			}
		}
		mark := map[int16]string{0: " ", glyphBold: "*", glyphReverse: "#", glyphBold | glyphReverse: "@"}[s.vt.Cell(0, y).Mode&(glyphBold|glyphReverse)]
		fmt.Fprintln(&b, strings.TrimRight(mark+"|"+string(row), " "))
	}
	return b.String()
}

// pages turns through everything a view shows.
func (s *terminal) pages(v operator.View) string {
	s.face.Show(v, s.now)
	var b strings.Builder
	for {
		f := s.paint()
		s.now = s.now.Add(Reflexes) // the keys that count by now
		s.paint()
		fmt.Fprintf(&b, "--- page %d of %d\n%s", f.Page+1, f.Pages, s.text())
		if f.Page+1 >= f.Pages {
			return b.String()
		}
		s.face.Press(' ', s.now)
		s.face.Press(0x1b, s.now) // in PIN mode no space is a page: the arrow is
		s.face.Press('[', s.now)
		s.face.Press('B', s.now)
	}
}

func TestGoldenScreens(t *testing.T) {
	for _, size := range [][2]int{{40, 12}, {80, 24}, {132, 50}} {
		for name, v := range scenes {
			s := newTerminal(size[0], size[1])
			golden(t, fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), s.pages(v))
		}
	}
	s := newTerminal(80, 24)
	s.pages(scenes["halted"])
	s.face.Press('\t', s.now)
	s.paint()
	golden(t, "tab-history-80x24", s.text())
	s.face.Press('\t', s.now)
	s.paint()
	golden(t, "tab-health-80x24", s.text())
	s = newTerminal(80, 24)
	s.pages(roundsView())
	s.press("\tn")
	golden(t, "tab-rounds-80x24", s.text())
	golden(t, "text-80", strings.Join(Text(scenes["batch"], 80), "\n")+"\n")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is now:\n%s\nwas:\n%s", name, got, want)
	}
}

// Whatever is shown in whatever order, what the terminal shows in the end is the
// last frame and nothing of those before it.
func TestPropertyOnlyChangesArePaintedAndNothingIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newTerminal(rapid.IntRange(30, 100).Draw(t, "width"), rapid.IntRange(8, 40).Draw(t, "height"))
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				_, _ = s.vt.Write([]byte("\x1b[1;31mkernel: oops\x1b[3;5r\x1b(0")) // somebody else writes
				s.painter.Renew()
			case 1:
				s.w, s.h = rapid.IntRange(30, 100).Draw(t, "width"), rapid.IntRange(8, 40).Draw(t, "height")
				s.vt.Resize(s.w, s.h)
				s.painter.Width = s.w
				s.painter.Reset()
			case 2:
				s.face.Press(rapid.SampledFrom([]byte(" b\t\tad")).Draw(t, "key"), s.now)
			default:
				s.face.Show(rapid.SampledFrom(sceneList).Draw(t, "scene"), s.now)
			}
			s.now = s.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
			s.paint()
		}
		s.paint() // the keys that count by what was painted
		got := s.text()
		fresh := newTerminal(s.w, s.h)
		_, _ = fresh.vt.Write(fresh.painter.Paint(s.face.Frame(s.w, s.h, s.now)))
		if want := fresh.text(); got != want {
			t.Fatalf("the terminal shows:\n%s\nwant:\n%s", got, want)
		}
	})
}

var sceneList = func() (list []operator.View) {
	for _, name := range []string{"ready", "arm", "batch", "long", "document", "touch", "late", "order", "pin", "time", "confirm", "halted", "alarm", "signed"} {
		list = append(list, scenes[name])
	}
	return list
}()

// A new question rings the bell once; the kernel's terminal is kept awake, others
// are not sent what only it knows.
func TestBellAndBlanking(t *testing.T) {
	var f Face
	p := Painter{Width: 80}
	rings := func() bool {
		fr := f.Frame(80, 24, start)
		b := string(p.Paint(fr))
		f.Painted(fr, start)
		if p.VT != strings.Contains(b, "\x1b[9;0]") && strings.Contains(b, begin) {
			t.Errorf("a terminal of the kernel: %v, sent %q", p.VT, b)
		}
		return strings.Contains(b, bell)
	}
	for i, c := range []struct {
		scene string
		want  bool
	}{{"ready", false}, {"arm", true}, {"arm", false}, {"touch", true}, {"late", true}, {"signed", false}, {"ready", false}, {"pin", true}, {"order", true}} {
		f.Show(scenes[c.scene], start)
		if got := rings(); got != c.want {
			t.Errorf("%d, %s: rings %v", i, c.scene, got)
		}
		if rings() {
			t.Errorf("%d, %s: rings again", i, c.scene)
		}
	}
	p.VT = true
	p.Renew()
	rings()
}

func TestColourOf(t *testing.T) {
	for _, c := range []struct {
		term, no string
		want     Colour
	}{
		{"linux", "", Full}, {"xterm-256color", "", Full}, {"linux", "1", Mono}, {"vt100", "", Mono}, {"vt220", "", Mono},
		{"linux-m", "", Mono}, {"", "", Mono}, {"dumb", "", Words}, {"dumb", "1", Words},
	} {
		if got := ColourOf(c.term, c.no); got != c.want {
			t.Errorf("TERM=%s NO_COLOR=%s: %d, want %d", c.term, c.no, got, c.want)
		}
	}
}

// On a display that shows words only, no state looks like another.
func TestNothingDependsOnAttributes(t *testing.T) {
	seen := map[string]string{}
	for name, v := range scenes {
		if name == "batch" || name == "long" || name == "document" {
			continue // the same state as arm
		}
		h := headlineOf(&v, v.Left)
		if h.word == "" {
			t.Errorf("%s has no word", name)
		}
		if other, ok := seen[h.text]; ok {
			t.Errorf("%s and %s both say %q", name, other, h.text)
		}
		if b := big(h.word, 80, Plain); len(b) != glyphRows {
			t.Errorf("%s: %q is not written big", name, h.word)
		}
		seen[h.text] = name
		p := Painter{Colour: Words, Width: 80}
		var f Face
		f.Show(v, start)
		for _, sgr := range []string{"\x1b[1", "\x1b[7", "\x1b[3", "\x1b[4"} {
			if b := string(p.Paint(f.Frame(80, 24, start))); strings.Contains(b, sgr+"m") || strings.Contains(b, sgr+";7m") {
				t.Errorf("%s uses attributes where there are none", name)
			}
			p.Reset()
		}
	}
}
