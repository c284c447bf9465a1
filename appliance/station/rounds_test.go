package station

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
)

// round is one of a host's claims.
func round(rule, state string) message.Round {
	return message.Round{Rule: rule, Files: 2, State: state, Since: time.Unix(1.8e9, 0).UTC()}
}

// announce has a host say, seconds after its first word, that rounds wait: which one is
// newer must not depend on how long the test takes.
func (b *board) announce(by note.Signer, seconds int, rounds ...message.Round) {
	if b.first.IsZero() {
		b.first = b.now()
	}
	m := message.Rounds{Origin: origin, HostTime: b.first.Add(time.Duration(seconds) * time.Second), Rounds: rounds}
	b.send(intaketest.Sign(m.Marshal(), by))
}

// rules waits until the display tells of exactly these rounds; of others it must
// not have told meanwhile.
func (b *board) rules(want ...string) operator.View {
	b.t.Helper()
	return b.view("rounds "+strings.Join(want, ", "), func(v operator.View) bool {
		var got []string
		for _, r := range v.Rounds {
			if got = append(got, r.Rule); strings.HasPrefix(r.Rule, "evil") {
				b.t.Fatalf("the display tells of %s", r.Rule)
			}
		}
		return slices.Equal(got, want)
	})
}

func open(rule string) operator.Command { return operator.Command{Verb: operator.Open, Rule: rule} }

// The operator sees what waits and has the host open one; asked once, the board asks
// again only when the host has answered.
func TestTheOperatorOpensARound(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.announce(b.host, 0, round("core", message.RoundWaiting), round("extra", message.RoundOpen))
	if v := b.rules("core", "extra"); v.Rounds[0].Files != 2 || v.Rounds[1].State != message.RoundOpen || v.Ask != operator.AskNothing {
		t.Errorf("%+v", v)
	}
	b.command(open("nothing"))
	b.view("that it is not there", func(v operator.View) bool { return strings.Contains(v.Message, "No such round") })
	b.command(open("core"))
	b.view("that it is asked for", func(v operator.View) bool { return v.Rounds[0].State == operator.RoundAsked })
	b.command(open("core"))
	b.view("that it was", func(v operator.View) bool { return strings.Contains(v.Message, "being opened") })
	b.command(open("extra"))
	for _, want := range []string{"core", "extra"} {
		if m, ok := b.receive().(*message.OpenRound); !ok || m.Rule != want {
			t.Fatalf("%+v, want a round of %s", m, want)
		}
	}
	b.announce(b.host, 0, round("core", message.RoundWaiting), round("extra", message.RoundUrgent))
	b.view("that it still waits", func(v operator.View) bool { return v.Rounds[0].State == message.RoundWaiting })
	b.command(open("extra"))
	b.view("that it is urgent", func(v operator.View) bool { return strings.Contains(v.Message, "urgent") })
	b.command(open("core"))
	if m, ok := b.receive().(*message.OpenRound); !ok || m.Rule != "core" {
		t.Fatalf("%+v", m)
	}
	b.announce(b.host, 0)
	b.rules()
}

// Rounds are told of by the host of this session, for this board, now, and the
// newest counts; the end of the session is the end of them.
func TestRoundsAreOfThisHost(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	evil := round("evil", message.RoundWaiting)
	for _, by := range []struct {
		note.Signer
		code string
	}{{b.forge.Other, message.CodeHostForbidden}, {intaketest.Impostor("repo1"), message.CodeUnknownHost}} {
		b.announce(by, 0, evil)
		b.answered(message.JobID{}, by.code)
	}
	b.announce(b.host, 2*int(intaketest.MaxSkew/time.Second), evil)
	b.answered(message.JobID{}, message.CodeClockSkew)
	elsewhere := message.Rounds{Origin: "other.example/log", HostTime: b.now(), Rounds: []message.Round{evil}}
	b.send(intaketest.Sign(elsewhere.Marshal(), b.host))
	b.answered(message.JobID{}, message.CodeWrongOrigin)

	b.announce(b.host, 0, round("evil", operator.RoundAsked))
	b.answered(message.JobID{}, message.CodeBadMessage)

	b.announce(b.host, 0, round("core", message.RoundWaiting))
	b.rules("core")
	b.announce(b.host, -1, evil) // an earlier one, sent once more
	b.announce(b.host, 1, round("extra", message.RoundWaiting))
	b.rules("extra")
	b.link.put(linkpipe.Msg{Kind: linkpipe.Down})
	b.rules()
	b.command(open("extra"))
	b.view("that it is not there", func(v operator.View) bool { return strings.Contains(v.Message, "No such round") })
	b.up()
	b.announce(b.host, 2, evil) // before a hello
	b.connect()
	b.announce(b.host, 0, evil) // of the session before
	b.announce(b.host, 2, round("last", message.RoundWaiting))
	b.rules("last")
}

// A host that announces without end changes neither what is asked nor what is on
// display of it, and an operator who opens a round meanwhile decides nothing.
func TestAnnouncementsHideNoRequest(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	r := b.forge.Honest("content")
	b.submit(r.Submit())
	b.shown(r.Job())
	var many []message.Round
	for i := range message.MaxRounds {
		many = append(many, round(strings.Repeat("x", 60)+string(rune('a'+i)), message.RoundWaiting))
	}
	for i := range 50 {
		b.announce(b.host, 0, many[i%message.MaxRounds:]...)
	}
	b.announce(b.host, 1, round("newest", message.RoundWaiting))
	b.view("the newest, and the request", func(v operator.View) bool {
		if v.Ask != operator.AskArm || v.Job == nil || v.Job.ID != r.Job().String() || len(v.Job.Items) != 1 || v.Message != "" {
			t.Fatalf("the request is not what is asked about: %+v", v)
		}
		return len(v.Rounds) == 1 && v.Rounds[0].Rule == "newest"
	})
	b.command(open("newest"))
	for m, ok := b.receive().(*message.OpenRound); !ok || m.Rule != "newest"; {
		m, ok = b.receive().(*message.OpenRound)
	}
	b.signsAgain(r)
}

// What came of a request stays on display when the host then says that its round is over.
func TestTheEndOfARequestStaysOnDisplay(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.announce(b.host, 0, round("core", message.RoundOpen))
	r := b.forge.Honest("content")
	b.submit(r.Submit())
	b.shown(r.Job())
	b.signsAgain(r)
	b.event("done")
	b.announce(b.host, 1)
	if v := b.rules(); v.Job == nil || !v.Job.Over() || v.Job.Items[0].Outcome != "signed" || v.Message != "1 of 1 signed." {
		t.Errorf("%+v", v)
	}
}
