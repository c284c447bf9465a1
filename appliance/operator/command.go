package operator

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"touchmark/hostlink/message"
)

// Verb is what the operator says.
type Verb string

// The operator's verbs.
const (
	Arm        Verb = "arm"        // go on with the job shown
	Deny       Verb = "deny"       // refuse the job shown
	PIN        Verb = "pin"        // the token's PIN
	Time       Verb = "time"       // the time shown is right
	Confirm    Verb = "confirm"    // do what cannot be undone
	Unmirrored Verb = "unmirrored" // commit the order shown although no host holds it
	Open       Verb = "open"       // have the host open a round
	Quit       Verb = "quit"       // stop the appliance in good order
)

// Command is one act of the operator. Job, the identity of a job or order,
// binds Arm, Deny and Unmirrored to what was on display when the operator
// decided, so that a job that came up in between is never armed by accident. It
// is the whole identity: two jobs whose identities begin alike are easily made.
type Command struct {
	Verb Verb
	Job  string
	Rule string // of Open
	PIN  []byte // the receiver zeroes it
}

// Panel shows views and passes on commands. Show never blocks for long and
// keeps nothing it was given; Commands is closed when the operator is gone.
type Panel interface {
	Show(View)
	Commands() <-chan Command
}

// ParseCommand reads one command line. A PIN is copied out of the line without
// ever becoming a string, so that it can be zeroed.
func ParseCommand(line []byte) (Command, error) {
	if pin, ok := bytes.CutPrefix(line, []byte("pin ")); ok && len(pin) > 0 {
		return Command{Verb: PIN, PIN: bytes.Clone(pin)}, nil
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	switch v := Verb(verb); {
	case (v == Arm || v == Deny || v == Unmirrored) && isJob(arg):
		return Command{Verb: v, Job: arg}, nil
	case v == Open && message.ValidToken(arg):
		return Command{Verb: v, Rule: arg}, nil
	case v == Open:
		return Command{}, errors.New("open needs the rule of a round shown")
	case v == Arm || v == Deny || v == Unmirrored:
		return Command{}, fmt.Errorf("%s needs the job or order shown: the 64 hex digits of its identity", v)
	case (v == Time || v == Confirm) && arg == "yes", v == Quit && arg == "":
		return Command{Verb: v}, nil
	}
	return Command{}, errors.New("unknown command; known are: arm JOB, deny JOB, unmirrored ORDER, open RULE, pin DIGITS, time yes, confirm yes, quit")
}

func isJob(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
