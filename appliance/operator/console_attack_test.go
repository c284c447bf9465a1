package operator

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// keyboard is a console whose screen, size and clock belong to the test.
type keyboard struct {
	*Console
	screen        bytes.Buffer
	width, height int
	time          time.Time
}

func newKeyboard() *keyboard {
	k := &keyboard{width: 80, height: 24, time: time.Unix(1.8e9, 0)}
	in, _ := io.Pipe()
	k.Console = newConsole(in, &k.screen, func() (int, int) { return k.width, k.height })
	k.now = func() time.Time { return k.time }
	return k
}

func (k *keyboard) show(v View) { k.screen.Reset(); k.Show(v); k.time = k.time.Add(reflexes) }

func (k *keyboard) presses(keys string) (last Command, acts bool) {
	for i := range len(keys) {
		k.screen.Reset()
		last, acts = k.press(keys[i])
	}
	return last, acts
}

// A host that swaps the request in the moment in which the operator presses the
// key must not get the other one armed.
func TestARequestThatJustAppearedIsNotArmed(t *testing.T) {
	k := newKeyboard()
	k.show(shownView())
	other := shownView()
	other.Job.ID = strings.Repeat("cd", 32)
	k.Show(other)
	if c, acts := k.presses("a"); acts {
		t.Fatalf("%+v for a request nobody can have read", c)
	}
	k.time = k.time.Add(reflexes)
	if c, acts := k.presses("a"); !acts || c.Job != other.Job.ID {
		t.Fatalf("%+v", c)
	}
}

// When a message goes, more items fit a page; turning pages must not skip those
// that moved.
func TestNoItemIsSkippedWhenPagesShift(t *testing.T) {
	v := shownView()
	for len(v.Job.Items) < 8 {
		v.Job.Items = append(v.Job.Items, v.Job.Items[0])
	}
	for i := range v.Job.Items {
		v.Job.Items[i].Claimed = "item-" + string(rune('a'+i)) + ".db"
	}
	k := newKeyboard()
	k.height = 30
	v.Message = strings.Repeat("A long message that takes lines from the items. ", 14)
	k.show(v)
	seen := k.screen.String()
	k.presses(" ")
	seen += k.screen.String()
	v.Message = ""
	k.show(v)
	seen += k.screen.String()
	for range 20 {
		if _, acts := k.presses("a"); acts {
			break
		}
		k.presses(" ")
		seen += k.screen.String()
	}
	for _, it := range v.Job.Items {
		if !strings.Contains(seen, it.Claimed) {
			t.Errorf("armed, and %s was never on the screen", it.Claimed)
		}
	}
}

func TestADisplayThatCannotShowItAllArmsNothing(t *testing.T) {
	k := newKeyboard()
	k.width, k.height = 40, 12
	k.show(shownView())
	if c, acts := k.presses("a a a"); acts {
		t.Fatalf("%+v on a display of 40 by 12:\n%s", c, k.screen.String())
	}
}

func TestLongNamesAreShownWhole(t *testing.T) {
	v := shownView()
	v.Job.Items[0].Claimed = strings.Repeat("x", 190) + ".evil.db"
	lines, _ := Render(v, 80, 40, 0)
	var all strings.Builder
	for _, l := range lines {
		all.WriteString(strings.TrimSpace(strings.Replace(l, "claimed name: ", "", 1)))
	}
	if !strings.Contains(all.String(), v.Job.Items[0].Claimed) {
		t.Errorf("the end of the name is cut off:\n%s", strings.Join(lines, "\n"))
	}
}

func TestAPINLeftHalfTypedIsForgotten(t *testing.T) {
	k := newKeyboard()
	k.show(View{Ask: AskPIN})
	k.presses("12")
	half := k.pin
	k.show(shownView())
	if half[0] != 0 || half[1] != 0 {
		t.Error("it stays in memory")
	}
	k.show(View{Ask: AskPIN})
	if c, _ := k.presses("123456\r"); string(c.PIN) != "123456" {
		t.Errorf("typed 123456 after a pause, the token would get %q", c.PIN)
	}
}
