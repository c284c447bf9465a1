package operator

import (
	"bytes"
	"strings"
	"testing"

	"touchmark/hostlink/message"
)

func TestParseCommand(t *testing.T) {
	for line, want := range map[string]Command{
		"arm " + strings.Repeat("0", 64):  {Verb: Arm, Job: strings.Repeat("0", 64)},
		"deny " + strings.Repeat("a", 64): {Verb: Deny, Job: strings.Repeat("a", 64)},
		"pin 123456":                      {Verb: PIN, PIN: []byte("123456")},
		"time yes":                        {Verb: Time},
		"open core.x_1-a":                 {Verb: Open, Rule: "core.x_1-a"},
		"quit":                            {Verb: Quit},
	} {
		got, err := ParseCommand([]byte(line))
		if err != nil || got.Verb != want.Verb || got.Job != want.Job || got.Rule != want.Rule || !bytes.Equal(got.PIN, want.PIN) {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "arm", "arm 0123", "arm 01234567", "arm " + strings.Repeat("G", 64), "arm " + strings.Repeat("a", 65), "pin ", "pin", "time", "time no", "quit now", "open", "open ", "open Core", "open a b", "open -x", "ARM 01234567"} {
		if c, err := ParseCommand([]byte(line)); err == nil {
			t.Errorf("%q gave %+v", line, c)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"arm " + strings.Repeat("01234567", 8), "pin 123456", "time yes", "quit", "deny", "open core", "pin \x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := ParseCommand(line)
		if err == nil && c.Verb == Open && !message.ValidToken(c.Rule) {
			t.Errorf("%q gave rule %q", line, c.Rule)
		}
		if err == nil && (c.Verb == Arm || c.Verb == Deny) && !isJob(c.Job) {
			t.Errorf("%q gave job %q", line, c.Job)
		}
	})
}
