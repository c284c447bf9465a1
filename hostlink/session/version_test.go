package session

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/frame"
)

// otherVersions are what a peer may say instead of 1. Version 0 does not get
// past frame.
var otherVersions = []byte{2, 3, 0x7f, 0x80, 0xff}

// hello is a SYN or ACCEPT of any version; the nonce is not a nonce.
func hello(typ frame.Type, sid uint32, version byte) frame.Frame {
	return frame.Frame{Type: typ, SID: sid, Payload: []byte{version, 9, 9, 9, 9, 9, 9, 9, 9}}
}

// reported checks that exactly one event tells of the other version.
func reported(t *testing.T, l *lone, version byte, text string) {
	t.Helper()
	evs := l.events()
	if len(evs) != 1 || evs[0].Kind != Down || evs[0].SID != 0 || !errors.Is(evs[0].Err(), ReasonVersion) || evs[0].Version.Theirs != version {
		t.Fatalf("version %d: events %+v", version, evs)
	}
	if got := evs[0].Err().Error(); got != text {
		t.Errorf("text %q, want %q", got, text)
	}
}

// TestSynOfAnotherVersion: a board answers with its own version, says so to the
// layer above once, and goes on to serve whoever speaks version 1.
func TestSynOfAnotherVersion(t *testing.T) {
	for _, v := range otherVersions {
		l := newLone(t, false)
		for range 3 {
			l.give(hello(frame.TypeSyn, 0, v))
			out := l.take()
			only(t, out, frame.TypeAccept)
			if want := []byte{Version, 0, 0, 0, 0, 0, 0, 0, 0}; out[0].SID != 1 || string(out[0].Payload) != string(want) {
				t.Errorf("version %d is answered %+v", v, out[0])
			}
			l.pass(time.Second)
		}
		reported(t, l, v, "the repository host speaks link version "+decimal(v)+", this appliance version 1: upgrade touchmark on this appliance")
		if l.Stats().Refused[RefusedVersion] != 3 {
			t.Errorf("counted %d", l.Stats().Refused[RefusedVersion])
		}
		l.stand(1)
		l.give(hello(frame.TypeSyn, 0, v))
		only(t, l.take(), frame.TypeAccept)
		if evs := l.events(); len(evs) != 0 || !l.Up() {
			t.Errorf("version %d disturbs the session that stands: %+v", v, evs)
		}
	}
}

func decimal(v byte) string {
	return strings.TrimLeft(string([]byte{'0' + v/100, '0' + v/10%10, '0' + v%10}), "0")
}

// TestAcceptOfAnotherVersion: a host reports it once and goes on calling, so
// that a board that is replaced meanwhile is met.
func TestAcceptOfAnotherVersion(t *testing.T) {
	for _, v := range otherVersions {
		l := newLone(t, true)
		for range 3 {
			l.give(hello(frame.TypeAccept, 1, v))
			l.pass(synMost)
			only(t, l.take(), frame.TypeSyn)
		}
		reported(t, l, v, "the appliance speaks link version "+decimal(v)+", this repository host version 1: upgrade touchmark on this repository host")
		sid := l.stand(1)
		l.give(hello(frame.TypeAccept, 1, v))
		if evs := l.events(); len(evs) != 0 || !l.Up() || l.sid != sid {
			t.Errorf("version %d disturbs the session that stands: %+v", v, evs)
		}
	}
}

// TestVersionTellsWhoIsBehind: the texts for an older peer, which there is none
// of yet.
func TestVersionTellsWhoIsBehind(t *testing.T) {
	for _, c := range []struct {
		e    VersionError
		want string
	}{
		{VersionError{Theirs: 0, Host: true}, "upgrade touchmark on the appliance"},
		{VersionError{Theirs: 0, Host: false}, "upgrade touchmark on the repository host"},
		{VersionError{Theirs: 2, Host: true}, "upgrade touchmark on this repository host"},
		{VersionError{Theirs: 2, Host: false}, "upgrade touchmark on this appliance"},
	} {
		if !strings.HasSuffix(c.e.Error(), c.want) {
			t.Errorf("%q does not end with %q", c.e.Error(), c.want)
		}
	}
}

// TestOtherVersionAgain: it is told anew after a session stood in between.
func TestOtherVersionAgain(t *testing.T) {
	l := newLone(t, true)
	l.give(hello(frame.TypeAccept, 1, 2))
	sid := l.stand(1)
	l.give(reset(sid, ReasonClosed), hello(frame.TypeAccept, 1, 3))
	evs := l.events()
	if len(evs) != 2 || evs[0].Reason != ReasonClosed || evs[1].Reason != ReasonVersion || evs[1].Version.Theirs != 3 {
		t.Errorf("events %+v", evs)
	}
}

// TestRefusalsStandInTheSpecification: each by the name it has here, as do the
// reasons of going down.
func TestRefusalsStandInTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec/session.md")
	if err != nil {
		t.Fatal(err)
	}
	for r := range Refusal(Refusals) {
		if text := strings.TrimPrefix(r.Error(), "session: "); !strings.Contains(string(spec), "| "+text+" |") {
			t.Errorf("docs/spec/session.md does not list %q", text)
		}
	}
}
