package screen

import (
	"slices"
	"time"

	"touchmark/appliance/operator"
)

// Reflexes is how long all of a request was on the screen before it can be armed:
// longer than a finger that is on its way to the key.
const Reflexes = time.Second

// maxPIN is the length of the longest PIN (SP 800-73-4, 2.4.3).
const maxPIN = 8

// Face is a display and the keys before it. Keys: a = arm, d = deny, u = go on
// unmirrored, y = yes, o and n = open a round and mark the next, space and b = the
// next and the last page, Tab = the next view; printable keys, Backspace and Enter = the PIN, when it is asked for;
// Ctrl-C = stop the appliance.
//
// Whatever is consented to was on the screen whole, each page of it painted, for
// a moment without any key of consent: whoever swaps requests, or lays something
// on the key, must not get another one armed.
//
// The owner guards it; nothing here is safe for concurrent use.
type Face struct {
	// Blind is set for a face without a screen. What it consents to nobody can
	// have read: it arms requests of hosts, never what administrators order.
	Blind bool

	view   operator.View
	came   time.Time // when view did
	number int       // counts what was on display
	tab    Tab
	page   int
	layout []int // lines on each page of what is asked
	seen   int   // pages of it that were painted, from the first
	calm   time.Time
	ring   bool   // what is asked is new, and nothing of it was painted yet
	rule   string // of the round that is marked, "" for the one that waits longest
	follow bool   // the next frame is to show it
	pin    []byte
	keys   decoder
}

// Show takes what is to be displayed from now on.
func (f *Face) Show(v operator.View, now time.Time) {
	if subject(&v) != subject(&f.view) {
		f.number++
		f.seen, f.layout, f.calm = 0, nil, now
	}
	if v.Ask != f.view.Ask || subject(&v) != subject(&f.view) {
		f.tab, f.page, f.ring = Main, 0, v.Ask != operator.AskNothing
	}
	if v.Ask != operator.AskPIN {
		f.Forget()
	}
	f.view, f.came = v, now
}

// subject is what a consent would be about.
func subject(v *operator.View) string {
	if v.Ask == operator.AskConfirm {
		return v.Message
	}
	if id := v.Subject(); id != "" {
		return id
	}
	return string(v.Ask)
}

// Forget wipes a PIN that is half typed.
func (f *Face) Forget() {
	clear(f.pin)
	f.pin = nil
}

// View is what is on display, with its time and countdown as they are by now.
func (f *Face) View(now time.Time) operator.View {
	v := f.view
	if v.Event == "stopped" {
		return v
	}
	passed := max(0, now.Sub(f.came)).Truncate(time.Second)
	v.Time = v.Time.Add(passed)
	if v.Left > 0 {
		v.Left = max(1, v.Left-int(passed/time.Second))
	}
	return v
}

// Frame draws the display. Tell Painted once it is on the screen.
func (f *Face) Frame(width, height int, now time.Time) Frame {
	v := f.View(now)
	s := state{tab: f.tab, page: f.page, rule: f.rule, mark: f.follow, left: v.Left, typed: len(f.pin), keys: f.help(now)}
	fr := layout(&v, s, width, height)
	if f.tab == Main && !slices.Equal(fr.layout, f.layout) { // lines moved between pages: begin again
		f.layout, f.seen, f.page, f.calm = fr.layout, 0, 0, now
		s.page, s.keys = 0, f.help(now)
		fr = layout(&v, s, width, height)
	}
	f.page, f.follow = fr.Page, false
	fr.number, fr.Ring = f.number, f.ring
	return fr
}

// Painted notes that a frame is on the screen.
func (f *Face) Painted(fr Frame, now time.Time) {
	f.ring = f.ring && !fr.Ring
	if fr.tab != Main || fr.number != f.number || fr.Page != f.seen || fr.Pages == 0 || !slices.Equal(fr.layout, f.layout) {
		return
	}
	f.seen++
	f.calm = now
}

// All reports whether all of what is asked was on the screen.
func (f *Face) All() bool {
	return f.Blind || len(f.layout) > 0 && f.seen >= len(f.layout)
}

// consents reports whether a key of consent counts now. One that comes too early
// begins the moment anew, so that a key that is held down never counts; one on
// another tab turns back to what is asked.
func (f *Face) consents(now time.Time) bool {
	if f.calmSince(now) && f.tab == Main {
		return true
	}
	if f.calm = now; f.tab != Main {
		f.tab, f.page = Main, 0
	}
	return false
}

func (f *Face) calmSince(now time.Time) bool {
	return f.All() && now.Sub(f.calm) >= Reflexes
}

// Press takes one byte from the keyboard and answers what the operator says by it,
// if anything.
func (f *Face) Press(b byte, now time.Time) (operator.Command, bool) {
	key := f.keys.decode(b)
	switch {
	case key == 0:
	case key == ctrlC:
		return operator.Command{Verb: operator.Quit}, true
	case key == '\t':
		f.tab, f.page = (f.tab+1)%tabs, 0
	case key == pageDown:
		f.turn(1)
	case key == pageUp:
		f.turn(-1)
	case key == 'd' && f.view.Subject() != "":
		return f.say(operator.Deny), true
	case f.view.Ask == operator.AskPIN:
		return f.typePIN(key)
	case key == ' ':
		f.turn(1)
	case key == 'b':
		f.turn(-1)
	case key == 'o' || key == 'n':
		return f.roundKey(key, now)
	default:
		return f.consent(key, now)
	}
	return operator.Command{}, false
}

func (f *Face) say(v operator.Verb) operator.Command {
	return operator.Command{Verb: v, Job: f.view.Subject()}
}

// consent is a key by which the operator agrees to what is asked.
func (f *Face) consent(key byte, now time.Time) (operator.Command, bool) {
	type question struct {
		key byte
		ask operator.Ask
	}
	verbs := map[question]operator.Verb{
		{'a', operator.AskArm}:        operator.Arm,
		{'u', operator.AskUnmirrored}: operator.Unmirrored,
		{'y', operator.AskTime}:       operator.Time,
		{'y', operator.AskConfirm}:    operator.Confirm,
	}
	verb, ok := verbs[question{key, f.view.Ask}]
	if !ok || f.Blind && (verb != operator.Arm || f.view.Order != nil) || !f.consents(now) {
		return operator.Command{}, false
	}
	c := operator.Command{Verb: verb}
	if verb == operator.Arm || verb == operator.Unmirrored {
		c.Job = f.view.Subject()
	}
	return c, true
}

// turn goes to another page. One that was not painted yet cannot be passed over.
func (f *Face) turn(by int) {
	if by > 0 && f.tab == Main && f.page >= f.seen {
		return
	}
	f.page = max(0, f.page+by)
}

// typePIN collects a PIN: printable keys, Backspace, Enter.
func (f *Face) typePIN(key byte) (operator.Command, bool) {
	switch {
	case key == '\r' || key == '\n':
		pin := f.pin
		f.pin = nil
		return operator.Command{Verb: operator.PIN, PIN: pin}, len(pin) > 0
	case key == 0x7f || key == 0x08:
		if len(f.pin) > 0 {
			f.pin[len(f.pin)-1] = 0
			f.pin = f.pin[:len(f.pin)-1]
		}
	case key > 0x20 && key < 0x7f && len(f.pin) < maxPIN:
		if f.pin == nil {
			f.pin = make([]byte, 0, maxPIN) // never grows, so that no copy of it stays behind
		}
		f.pin = append(f.pin, key)
	}
	return operator.Command{}, false
}

// help names the keys that do something now. A key of consent is named only when
// it counts.
func (f *Face) help(now time.Time) string {
	keys, deny := "", ""
	if f.view.Subject() != "" && f.view.Ask != operator.AskNoTouch && (f.view.Job == nil || !f.view.Job.Over()) {
		deny = "d = deny  "
	}
	switch agree := agreeKeys[f.view.Ask]; {
	case f.view.Ask == operator.AskPIN:
		keys = "type the " + secret(&f.view) + ", then Enter  "
	case agree == "":
	case f.tab != Main:
	case !f.All() && f.page < len(f.layout)-1:
		keys = "space = next page  "
	case f.calmSince(now):
		keys = agree
	default:
		keys = "read it ...  "
	}
	if f.view.Ask == operator.AskTime || f.view.Ask == operator.AskConfirm {
		deny = "Ctrl-C = stop  "
	}
	return keys + deny + f.roundHelp() + "Tab = more"
}

var agreeKeys = map[operator.Ask]string{
	operator.AskArm:        "a = arm  ",
	operator.AskUnmirrored: "u = go on unmirrored  ",
	operator.AskTime:       "y = yes, right  ",
	operator.AskConfirm:    "y = do it  ",
}
