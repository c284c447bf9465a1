package screen

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/appliance/operator"
)

func (s *terminal) show(v operator.View) { s.face.Show(v, s.now); s.paint() }

func (s *terminal) wait(d time.Duration) { s.now = s.now.Add(d); s.paint() }

// press types keys; each is painted before the next.
func (s *terminal) press(keys string) (last operator.Command, acts bool) {
	for i := range len(keys) {
		last, acts = s.face.Press(keys[i], s.now)
		s.paint()
	}
	return last, acts
}

func other(v operator.View) operator.View {
	job := *v.Job
	job.ID = strings.Repeat("cd", 32)
	v.Job = &job
	return v
}

// A host that swaps the request in the moment in which the operator presses the
// key must not get the other one armed.
func TestARequestThatJustAppearedIsNotArmed(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(jobView(1))
	s.wait(Reflexes)
	s.show(other(jobView(1)))
	if c, acts := s.press("a"); acts {
		t.Fatalf("%+v for a request nobody can have read", c)
	}
	s.wait(Reflexes)
	if c, acts := s.press("a"); !acts || c.Verb != operator.Arm || c.Job != other(jobView(1)).Job.ID {
		t.Fatalf("%+v, %v", c, acts)
	}
}

// A key that is held down, or that something lies on, arms nothing.
func TestAKeyHeldDownArmsNothing(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(jobView(1))
	for range 100 {
		s.wait(Reflexes / 30)
		if c, acts := s.press("a"); acts {
			t.Fatalf("%+v", c)
		}
	}
	s.wait(Reflexes)
	if _, acts := s.press("a"); !acts {
		t.Fatal("let go and pressed again, it arms nothing either")
	}
}

// The second question of a ceremony is not answered by a key pressed twice.
func TestEachConfirmationIsItsOwn(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(scenes["confirm"])
	s.wait(Reflexes)
	if c, acts := s.press("y"); !acts || c.Verb != operator.Confirm {
		t.Fatalf("%+v", c)
	}
	s.show(with(scenes["confirm"], func(v *operator.View) { v.Message = "Destroy the key in slot 9c." }))
	if c, acts := s.press("y"); acts {
		t.Fatalf("%+v", c)
	}
}

// When a message goes, more items fit a page; turning pages must not skip those
// that moved.
func TestNoItemIsSkippedWhenPagesShift(t *testing.T) {
	v := jobView(8)
	v.Message = strings.Repeat("A long message that takes lines from the items. ", 14)
	s := newTerminal(80, 30)
	s.show(v)
	seen := s.text()
	s.press(" ")
	seen += s.text()
	v.Message = ""
	s.show(v)
	seen += s.text()
	for range 20 {
		s.wait(Reflexes)
		if _, acts := s.press("a"); acts {
			break
		}
		s.press(" ")
		seen += s.text()
	}
	for _, it := range v.Job.Items {
		if !strings.Contains(seen, it.Claimed) {
			t.Errorf("armed, and %s was never on the screen", it.Claimed)
		}
	}
}

// A document cannot be armed before its last line, and all after it, was on the
// screen; no line of it looks like one of the display's own.
func TestADocumentIsReadBeforeItIsArmed(t *testing.T) {
	v := documentView()
	for _, size := range [][2]int{{LeastWidth, LeastHeight}, {80, 24}, {132, 50}} {
		s := newTerminal(size[0], size[1])
		s.show(v)
		seen, armed := s.text(), false
		for range 200 {
			s.wait(Reflexes)
			if _, armed = s.press("a"); armed {
				break
			}
			s.wait(Reflexes)
			s.press(" ")
			seen += s.text()
		}
		last := v.Job.Items[0].Meaning[len(v.Job.Items[0].Meaning)-1]
		for word := range strings.FieldsSeq(last + " " + v.Job.Items[1].Claimed) {
			if !armed || !strings.Contains(seen, word) {
				t.Errorf("%v: armed %v, and %q was never on the screen", size, armed, word)
			}
		}
		for line := range strings.Lines(seen) {
			_, text, _ := strings.Cut(line, "|")
			if strings.Contains(text, "TOUCH THE TOKEN") && !strings.HasPrefix(text, indent+"|") {
				t.Errorf("%v: a line of the document is one of the display's: %q", size, line)
			}
		}
	}
}

// Pages that were turned faster than they were drawn were not seen.
func TestPagesThatWereNeverDrawnCountAsUnseen(t *testing.T) {
	s := newTerminal(80, 24)
	s.face.Show(jobView(16), s.now)
	s.face.Frame(80, 24, s.now)
	for range 20 {
		s.face.Press(' ', s.now)
		s.face.Frame(80, 24, s.now) // the terminal takes nothing
	}
	s.now = s.now.Add(time.Hour)
	if c, acts := s.face.Press('a', s.now); acts || s.face.page != 0 {
		t.Fatalf("%+v on page %d", c, s.face.page)
	}
}

func TestADisplayThatIsTooSmallArmsNothing(t *testing.T) {
	s := newTerminal(LeastWidth-1, LeastHeight)
	s.show(jobView(1))
	s.wait(Reflexes)
	if c, acts := s.press("a a a"); acts {
		t.Fatalf("%+v on:\n%s", c, s.text())
	}
	if !strings.Contains(s.text(), "40 by 12") {
		t.Errorf("it does not say what is wrong:\n%s", s.text())
	}
}

// Another tab is no way around the pages, and what is asked is never hidden by it.
func TestOnAnotherTabNothingIsArmed(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(jobView(1))
	s.wait(Reflexes)
	s.press("\t")
	if !strings.Contains(s.text(), "Arm it, or deny it?") {
		t.Errorf("nothing asks:\n%s", s.text())
	}
	if c, acts := s.press("a"); acts {
		t.Fatalf("%+v", c)
	}
	if !strings.Contains(s.text(), "demo-1.db") {
		t.Error("the key does not turn back to the request")
	}
	s.press("\t\t")
	s.show(touchView(1, 1))
	if !strings.Contains(s.text(), "> 1.") {
		t.Errorf("the touch is asked for on another tab:\n%s", s.text())
	}
}

// Keys that send sequences hold letters: they are not keys of their own, neither
// as consent nor in a PIN.
func TestSequencesAreNoKeys(t *testing.T) {
	for _, sequence := range []string{"\x1bOa", "\x1b[a", "\x1b[1;5a", "\x1b[200~", "\x1b[?1;2c", "\x1b[", "\x1bO", "\x1b[[a", "\xc3\xa1"} {
		s := newTerminal(80, 24)
		s.show(jobView(1))
		s.wait(Reflexes)
		if c, acts := s.press(sequence); acts {
			t.Errorf("%q: %+v", sequence, c)
		}
	}
	s := newTerminal(80, 24)
	s.show(scenes["pin"])
	if c, _ := s.press("12\x1b[C\x1bOP\x1b[15~\x1b[[A3456\r"); string(c.PIN) != "123456" {
		t.Errorf("the token would get %q", c.PIN)
	}
	if c, acts := s.press("\x1b[12;\x03"); !acts || c.Verb != operator.Quit {
		t.Error("Ctrl-C is lost in a sequence")
	}
}

func TestArrowsTurnPages(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(jobView(16))
	for _, keys := range []string{"\x1b[B", "\x1b[6~", " "} {
		s.press(keys)
	}
	if s.face.page != 3 {
		t.Errorf("on page %d", s.face.page)
	}
	s.press("\x1b[A\x1b[5~b")
	if s.face.page != 0 {
		t.Errorf("on page %d", s.face.page)
	}
}

func TestAPINLeftHalfTypedIsForgotten(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(scenes["pin"])
	s.press("12")
	if !strings.Contains(s.text(), "<<<**") || strings.Contains(s.text(), "PIN <<<12") {
		t.Errorf("it shows:\n%s", s.text())
	}
	half := s.face.pin
	s.show(jobView(1))
	if half[0] != 0 || half[1] != 0 {
		t.Error("it stays in memory")
	}
	s.show(scenes["pin"])
	if c, _ := s.press("999\x7f\x7f\x7f\x7f1234567890\r"); string(c.PIN) != "12345678" {
		t.Errorf("the token would get %q", c.PIN)
	}
}

// A blind face arms requests of hosts, and nothing that only a person who reads
// can agree to.
func TestABlindFace(t *testing.T) {
	for name, want := range map[string]operator.Verb{"arm": operator.Arm, "order": "", "time": "", "confirm": ""} {
		f := Face{Blind: true}
		f.Show(scenes[name], start)
		for _, key := range []byte("ayu") {
			if c, acts := f.Press(key, start.Add(Reflexes/2)); acts {
				t.Errorf("%s: %+v at once", name, c)
			}
			at := start.Add(2 * Reflexes)
			if c, acts := f.Press(key, at); acts != (want != "" && key == 'a') || acts && c.Verb != want {
				t.Errorf("%s, key %c: %+v", name, key, c)
			}
		}
	}
}

func TestClockAndCountdownGoOn(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(touchView(1, 1))
	s.wait(5 * time.Second)
	if got := s.text(); !strings.Contains(got, "22:00:05 UTC") || !strings.Contains(got, "<<<  10 s") {
		t.Errorf("after five seconds:\n%s", got)
	}
	s.wait(time.Minute)
	if got := s.text(); !strings.Contains(got, "<<<  1 s") {
		t.Errorf("only the token ends its touch; after a minute:\n%s", got)
	}
	s.show(with(idleView(), func(v *operator.View) { v.Event = "stopped" }))
	s.wait(time.Minute)
	if got := s.text(); !strings.Contains(got, "22:00:00 UTC") {
		t.Errorf("a stopped board's clock runs:\n%s", got)
	}
}

func TestScreenCannotBeFooled(t *testing.T) {
	v := jobView(16)
	v.Message = "\x1b[2J\u202egnp.exe " + strings.Repeat("long ", 20) + strings.Repeat("x", 300)
	for i := range v.Job.Items {
		v.Job.Items[i].Claimed = "a\x1b]0;owned\x07b\u0430"
	}
	v.Job.Items[3].Claimed = strings.Repeat("x", 61) + "sha256:" + strings.Repeat("0", 64)
	for _, size := range [][2]int{{1, 1}, {0, 0}, {40, 12}, {80, 24}, {200, 60}} {
		f := Face{}
		f.Show(v, start)
		for range 100 {
			fr := f.Frame(size[0], size[1], start)
			if len(fr.Lines) != size[1] {
				t.Fatalf("%d lines on a display of %v", len(fr.Lines), size)
			}
			for _, l := range fr.Lines {
				if len(l.Text) > max(1, size[0]) || strings.ContainsFunc(l.Text, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
					t.Errorf("line %q on a display of %v", l.Text, size)
				}
				if strings.HasPrefix(strings.TrimSpace(l.Text), "sha256:") {
					t.Errorf("a name looks like a digest: %q", l.Text)
				}
			}
			f.Painted(fr, start)
			f.Press(' ', start)
		}
	}
}

// Whatever the operator, the host, the terminal and the clock do: what gets armed
// was on the terminal whole, and a second had passed since.
func TestPropertyWhatIsArmedWasSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newTerminal(80, 24)
		var seen strings.Builder // all that was painted since the request came
		var last time.Time       // when something new of it was
		id := ""
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				v := jobView(rapid.IntRange(1, 16).Draw(t, "items"))
				v.Job.ID = fmt.Sprintf("%064x", rapid.IntRange(1, 3).Draw(t, "job"))
				v.Message = strings.Repeat("words ", rapid.IntRange(0, 40).Draw(t, "words"))
				if v.Job.ID == id {
					v.Job.Items = s.face.view.Job.Items // a job never changes
				}
				if v.Job.ID != id {
					id = v.Job.ID
					seen.Reset()
				}
				s.face.Show(v, s.now)
			case 1:
				s.w, s.h = rapid.IntRange(38, 90).Draw(t, "width"), rapid.IntRange(10, 40).Draw(t, "height")
			case 2, 3:
				s.now = s.now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			case 4, 5, 6:
				f := s.face.Frame(s.w, s.h, s.now)
				if !rapid.Bool().Draw(t, "written") {
					break
				}
				before := seen.Len()
				for _, l := range f.Lines {
					if text := strings.TrimSpace(l.Text) + "\n"; !strings.Contains(seen.String(), text) && strings.Contains(text, "claimed") {
						seen.WriteString(text)
					}
				}
				if seen.Len() > before {
					last = s.now
				}
				s.face.Painted(f, s.now)
			default:
				c, acts := s.face.Press(rapid.SampledFrom([]byte("aaa  b\t\x1bOB[")).Draw(t, "key"), s.now)
				if !acts {
					break
				}
				if c.Verb != operator.Arm || c.Job != id || s.now.Sub(last) < Reflexes {
					t.Fatalf("%+v %s after the last of %s", c, s.now.Sub(last), id)
				}
				for _, it := range s.face.view.Job.Items {
					if !strings.Contains(seen.String(), it.Claimed+"\n") {
						t.Fatalf("armed, and %s was never on the screen:\n%s", it.Claimed, seen.String())
					}
				}
			}
		}
	})
}

func FuzzPress(f *testing.F) {
	f.Add([]byte("a\x1bOa 123\r"), 2)
	f.Add([]byte("\t\x1b[6~y"), 0)
	f.Fuzz(func(t *testing.T, keys []byte, scene int) {
		if len(keys) > 1<<10 || scene < 0 {
			return
		}
		s := newTerminal(80, 24)
		s.show(sceneList[scene%len(sceneList)])
		for _, k := range keys {
			c, acts := s.face.Press(k, s.now)
			if acts && (c.Verb == operator.Arm || c.Verb == operator.Confirm || c.Verb == operator.Time) {
				t.Fatalf("%+v within the moment in which nobody can have read it", c)
			}
			if len(c.PIN) > maxPIN {
				t.Fatalf("a PIN of %d bytes", len(c.PIN))
			}
		}
		s.paint()
	})
}

func TestLampsAreToldApartByRhythmAndPlace(t *testing.T) {
	seen := map[Lamps]string{}
	for _, name := range []string{"ready", "arm", "touch", "late", "halted", "pin", "alarm"} {
		v := scenes[name]
		l := LampsOf(&v)
		if len(l.Green) != LampSteps || len(l.Red) != LampSteps {
			t.Errorf("%s: %+v", name, l)
		}
		if o, ok := seen[l]; ok {
			t.Errorf("%s and %s look the same", name, o)
		}
		seen[l] = name
	}
	if v := scenes["touch"]; LampsOf(&v).Red != dark {
		t.Error("a lamp that says stop is on while the touch is asked for")
	}
	if v := scenes["late"]; LampsOf(&v).Green != dark {
		t.Error("a lamp that says go is on while the token must not be touched")
	}
}
