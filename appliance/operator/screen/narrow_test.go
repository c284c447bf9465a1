package screen

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"touchmark/appliance/operator"
)

// On the smallest display no headline is cut off, nor a countdown in it.
func TestHeadlinesFitTheSmallestDisplay(t *testing.T) {
	views := map[string]operator.View{"touch 16": touchView(16, 16)}
	for name, v := range scenes {
		views[name] = v
	}
	for name, v := range views {
		for _, left := range []int{0, 15, 599} {
			h := headlineOf(&v, left)
			text := h.banner(LeastWidth).Text
			if got := strings.TrimSpace(text); got != h.text && got != h.short {
				t.Errorf("%s with %d s left: %q is cut to %q", name, left, h.text, text)
			}
		}
	}
}

// A display that is too small for a request still says whether to touch the token.
func TestATooSmallDisplaySaysWhatMatters(t *testing.T) {
	late := touchView(1, 2)
	late.Ask, late.Left = operator.AskNoTouch, 9
	for want, v := range map[string]operator.View{"DO NOT TOUCH the token !!! 9 s": late, "TOUCH NOW: 1 of 2 <<< 15 s": touchView(1, 2)} {
		s := newTerminal(30, 6)
		s.show(v)
		text := strings.Join(strings.Fields(strings.NewReplacer("|", " ", "*", " ", "#", " ", "@", " ").Replace(s.text())), " ")
		if !strings.Contains(text, want) || !strings.Contains(text, "Make this terminal 40 by 12") {
			t.Errorf("%q is not on\n%s", want, s.text())
		}
		if s.face.All() {
			t.Errorf("%q: counts as read", want)
		}
	}
}

// What the touch is for is on the screen without a key, whatever else there is to say.
func TestWhatIsTouchedForStandsFirst(t *testing.T) {
	v := touchView(3, 16)
	v.Warning = strings.Repeat("a warning that takes some room. ", 6)
	s := newTerminal(LeastWidth, LeastHeight)
	s.show(v)
	if text := s.text(); !strings.Contains(text, "> 3. openpgp-binary") || !strings.Contains(text, "demo-3.db.tar.gz") {
		t.Errorf("the third is touched for:\n%s", text)
	}
	s = newTerminal(80, 24)
	if text := s.pages(v); !strings.Contains(text, "WARNING: a warning") {
		t.Error("the warning is lost")
	}
}

// Of the line of keys whole keys are left out, from its end.
func TestNoKeyIsCutInHalf(t *testing.T) {
	whole := regexp.MustCompile(`^(page \d+/\d+|o = open round \d+|Tab = more|space = next page|d = deny|a = arm|u = go on unmirrored|n = next|Ctrl-C = stop|y = yes, right|y = do it|read it \.\.\.|type the P(IN|UK), then Enter|)$`)
	for width := LeastWidth; width < 80; width++ {
		for name, v := range scenes {
			s := newTerminal(width, LeastHeight)
			s.show(v)
			s.wait(Reflexes)
			lines := strings.Split(strings.TrimRight(s.text(), "\n"), "\n")
			for part := range strings.SplitSeq(strings.TrimSpace(lines[len(lines)-1][2:]), "  ") {
				if !whole.MatchString(part) {
					t.Errorf("%s at %d: %q", name, width, part)
				}
			}
		}
	}
}

// A board that is not in agreement with its TPM tells no numbers of it.
func TestAHaltedBoardDoesNotCountWhatHeadHas(t *testing.T) {
	v := scenes["halted"]
	v.TPM, v.Sealed, v.Writes = operator.TPMOdds, 0, 0
	text := fmt.Sprint(tabBlocks(&v, Health, -1, 80))
	if strings.Contains(text, "0 are committed") || strings.Contains(text, "writes of its memory") {
		t.Errorf("%s", text)
	}
}

// Whoever types the PIN where the PUK is asked for loses a try: the large words say which it is.
func TestThePUKIsCalledSo(t *testing.T) {
	for message, want := range map[string]string{
		"Type the present PUK of the token (if it is new: 12345678).": "PUK", "That is the factory's PUK, which everybody knows. Type the PUK that the token shall have.": "PUK",
		"Type the new PUK again.": "PUK", "Type the new PIN again.": "PIN", "Type the token's PIN. After 1 more wrong one only the PUK helps.": "PIN",
	} {
		s := newTerminal(80, 24)
		s.face.Show(with(idleView(), func(v *operator.View) { v.Ask, v.Message = operator.AskPIN, message }), s.now)
		s.paint()
		if text := s.text(); !strings.Contains(text, "Type the token's "+want+" <<<") || !strings.Contains(text, "type the "+want+", then Enter") {
			t.Errorf("%s:\n%s", message, text)
		}
	}
}

// What comes while the time is asked for, such as a stick with orders, does not take the question away.
func TestTheTimeIsAskedForToTheEnd(t *testing.T) {
	for _, message := range []string{operator.TimeQuestion, "A stick with 2 orders: they are looked at when the time is confirmed."} {
		v := with(scenes["time"], func(v *operator.View) { v.Message = message })
		p := &writer{width: 200}
		p.words(&v)
		if text := fmt.Sprint(p.lines); strings.Count(text, operator.TimeQuestion) != 1 || !strings.Contains(text, message) {
			t.Errorf("%s", text)
		}
	}
}

// Whoever has the terminal next begins below the last screen, not in the midst of it.
func TestTheTerminalIsGivenBackBelow(t *testing.T) {
	s := newTerminal(80, 24)
	s.show(scenes["halted"])
	s.wait(Reflexes) // which paints lines at the top only
	_, _ = s.vt.Write([]byte(End + "$ ls"))
	if lines := strings.Split(s.text(), "\n"); !strings.HasSuffix(lines[23], "$ ls") {
		t.Errorf("the prompt is not on the last line:\n%s", s.text())
	}
}

// What ended in another year is not taken for something of today.
func TestHistoryTellsTheYear(t *testing.T) {
	v := idleView()
	v.Recent[0].Time = start.AddDate(-1, 0, 0)
	s := newTerminal(80, 24)
	s.show(v)
	if text := s.text(); !strings.Contains(text, "  2025-11-21 22:00:00  c0ffee12") || !strings.Contains(text, "  11-21 20:00:00  deadbeef") {
		t.Errorf("%s", text)
	}
}
