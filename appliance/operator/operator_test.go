package operator

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

func shownView() View {
	return View{
		Event: "shown", Ask: AskArm, Origin: "touchmark.example/demo", Time: time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC),
		Emulated: true, Token: "ready", LogSize: 42, Host: "repo1",
		Job: &Job{
			ID: strings.Repeat("ab", 32), Class: "pacman-db", Key: "packages", Host: "repo1", Rate: "59 of 60/1h left", State: "shown",
			Items: []Item{
				{Claimed: "demo.db.tar.gz", Format: "openpgp-binary", Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4), Size: 12345},
				{Claimed: "demo.files.tar.gz", Format: "openpgp-binary", Digest: "sha256:" + strings.Repeat("fedcba9876543210", 4), Size: 54321},
			},
		},
	}
}

const goldenShown = `TOUCHMARK  touchmark.example/demo  2026-11-21 22:00:00 UTC
log 42   token ready   host repo1   waiting 0
EMULATED TOKEN: for tests only, its signatures prove nothing
--------------------------------------------------------------------------------
job abababab   class pacman-db   key packages
asked by repo1, NOT approved by anyone else
rate: 59 of 60/1h left

  1. openpgp-binary, 12345 bytes
     claimed name: demo.db.tar.gz
     sha256 01234567 89abcdef 01234567 89abcdef
            01234567 89abcdef 01234567 89abcdef

  2. openpgp-binary, 54321 bytes
     claimed name: demo.files.tar.gz
     sha256 fedcba98 76543210 fedcba98 76543210
            fedcba98 76543210 fedcba98 76543210

Arm it, or deny it?

a = arm   d = deny`

func screen(v View) string {
	lines, _ := Render(v, 80, 24, 0)
	return strings.Join(lines, "\n")
}

func TestGoldenScreen(t *testing.T) {
	if got := screen(shownView()); got != goldenShown {
		t.Errorf("screen is:\n%s\nwant:\n%s", got, goldenShown)
	}
}

func TestScreensSayWhatToDo(t *testing.T) {
	touch := shownView()
	touch.Ask, touch.Job.State, touch.Job.Touch = AskTouch, "touching", 2
	late := shownView()
	late.Ask, late.Job.State = AskNoTouch, "touching"
	for want, v := range map[string]View{
		"touch 2 of 2":            touch,
		"DO NOT TOUCH":            late,
		"HALTED":                  {Halted: "head-unknown"},
		"type the PIN":            {Ask: AskPIN},
		"y = the time":            {Ask: AskTime},
		"No request.":             {},
		"> 2. openpgp-binary, 54": touch,
	} {
		if got := screen(v); !strings.Contains(got, want) {
			t.Errorf("no %q on:\n%s", want, got)
		}
	}
}

func TestScreenFitsAndCannotBeFooled(t *testing.T) {
	v := shownView()
	v.Message = "\x1b[2J\u202egnp.exe " + strings.Repeat("long ", 20)
	v.Job.Items[0].Claimed = "a\x1b]0;owned\x07b\u0430"
	for len(v.Job.Items) < 16 {
		v.Job.Items = append(v.Job.Items, v.Job.Items[0])
	}
	for _, size := range [][2]int{{80, 24}, {40, 12}, {200, 60}} {
		seen, pages := 0, 1
		for n := 0; n < pages; n++ {
			var lines []string
			lines, pages = Render(v, size[0], size[1], n)
			if len(lines) > size[1] {
				t.Errorf("%d lines on a display of %d", len(lines), size[1])
			}
			for _, l := range lines {
				if len(l) > size[0] || strings.Trim(l, printable) != "" {
					t.Errorf("line %q on a display %d wide", l, size[0])
				}
				if strings.Contains(l, "claimed name") {
					seen++
				}
			}
		}
		if seen != len(v.Job.Items) {
			t.Errorf("%d of %d items are on the %d pages of a display %v", seen, len(v.Job.Items), pages, size)
		}
	}
}

var printable = func() string {
	var b strings.Builder
	for c := byte(0x20); c < 0x7f; c++ {
		b.WriteByte(c)
	}
	return b.String()
}()

func TestParseCommand(t *testing.T) {
	for line, want := range map[string]Command{
		"arm " + strings.Repeat("0", 64):  {Verb: Arm, Job: strings.Repeat("0", 64)},
		"deny " + strings.Repeat("a", 64): {Verb: Deny, Job: strings.Repeat("a", 64)},
		"pin 123456":                      {Verb: PIN, PIN: []byte("123456")},
		"time yes":                        {Verb: Time},
		"quit":                            {Verb: Quit},
	} {
		got, err := ParseCommand([]byte(line))
		if err != nil || got.Verb != want.Verb || got.Job != want.Job || !bytes.Equal(got.PIN, want.PIN) {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "arm", "arm 0123", "arm 01234567", "arm " + strings.Repeat("G", 64), "arm " + strings.Repeat("a", 65), "pin ", "pin", "time", "time no", "quit now", "ARM 01234567"} {
		if c, err := ParseCommand([]byte(line)); err == nil {
			t.Errorf("%q gave %+v", line, c)
		}
	}
}

func TestLines(t *testing.T) {
	in, typed := io.Pipe()
	screen, out := io.Pipe()
	l := NewLines(in, out)
	views := json.NewDecoder(screen)
	go l.Show(shownView())
	var v View
	if err := views.Decode(&v); err != nil || v.Job.ID != shownView().Job.ID || v.Ask != AskArm {
		t.Fatalf("%+v, %v", v, err)
	}
	go func() {
		_, _ = io.WriteString(typed, strings.Repeat("x", 10_000)+"\nnonsense\narm "+strings.Repeat("ab", 32)+"\n")
		_ = typed.Close()
	}()
	for _, want := range []string{"at most 256 bytes", "unknown command"} {
		var complaint map[string]string
		if err := views.Decode(&complaint); err != nil || complaint["event"] != "bad-command" || !strings.Contains(complaint["message"], want) {
			t.Fatalf("%v, %v; want %q", complaint, err, want)
		}
	}
	if c := <-l.Commands(); c.Verb != Arm || c.Job != strings.Repeat("ab", 32) {
		t.Fatalf("%+v", c)
	}
	if _, open := <-l.Commands(); open {
		t.Fatal("still open after the input ended")
	}
}

func TestConsoleKeys(t *testing.T) {
	in, keys := io.Pipe()
	c := newConsole(in, io.Discard, func() (int, int) { return 80, 24 })
	at := time.Unix(1.8e9, 0)
	c.now = func() time.Time { at = at.Add(reflexes); return at }
	press := func(s string) { _, _ = io.WriteString(keys, s) }
	expect := func(want Command) {
		t.Helper()
		got := <-c.Commands()
		if got.Verb != want.Verb || got.Job != want.Job || !bytes.Equal(got.PIN, want.PIN) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
	c.Show(View{Ask: AskTime})
	press("xay")
	expect(Command{Verb: Time})
	c.Show(View{Ask: AskPIN})
	press("12399\x7f\x7f456789\r")
	expect(Command{Verb: PIN, PIN: []byte("12345678")})
	c.Show(shownView())
	press("a")
	expect(Command{Verb: Arm, Job: shownView().Job.ID})
	press("d")
	expect(Command{Verb: Deny, Job: shownView().Job.ID})
	long := shownView()
	long.Job.ID = strings.Repeat("cd", 32)
	for len(long.Job.Items) < 6 {
		long.Job.Items = append(long.Job.Items, long.Job.Items[0])
	}
	c.Show(long)
	press("a  a") // the first is too early: two more pages
	expect(Command{Verb: Arm, Job: long.Job.ID})
	if !c.all || c.page != 2 {
		t.Fatalf("armed on page %d", c.page)
	}
	press("\x03")
	expect(Command{Verb: Quit})
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"arm " + strings.Repeat("01234567", 8), "pin 123456", "time yes", "quit", "deny", "pin \x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := ParseCommand(line)
		if err == nil && (c.Verb == Arm || c.Verb == Deny) && !isJob(c.Job) {
			t.Errorf("%q gave job %q", line, c.Job)
		}
	})
}
