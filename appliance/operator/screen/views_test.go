package screen

import (
	"fmt"
	"strings"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
)

// start is when the tests' display is first shown.
var start = time.Date(2026, 11, 21, 22, 0, 0, 0, time.UTC)

func idleView() operator.View {
	return operator.View{
		Event: "ready", Origin: "touchmark.example/demo", Time: start, Clock: "operator", LogTime: start.Add(-26 * time.Hour),
		Token: "ready", Device: "YubiKey 5.7.4, serial 12345678", TPM: operator.TPMReady, LogSize: 41234, Sealed: 41230,
		Head: strings.Repeat("0f1e2d3c4b5a6978", 4), Scrub: "whole, 41234 entries", Host: "repo1", State: "ready", Writes: 10307, Days: 2190,
		Recent: []operator.Ended{
			{ID: strings.Repeat("c0ffee12", 8), Time: start.Add(-time.Hour), Class: "pacman-db", Host: "repo1", Items: 2, End: "2 of 2 signed."},
			{ID: strings.Repeat("deadbeef", 8), Time: start.Add(-2 * time.Hour), Class: "iso", Host: "repo1", Items: 1, End: "Not signed: denied."},
		},
	}
}

func item(i int) operator.Item {
	return operator.Item{
		Claimed: fmt.Sprintf("demo-%d.db.tar.gz", i), Format: "openpgp-binary",
		Digest: "sha256:" + strings.Repeat(fmt.Sprintf("%08x", 0x01234567*uint32(i)), 8), Size: uint64(12345 * i),
	}
}

// jobView is a request of n items, as it is first shown.
func jobView(n int) operator.View {
	v := idleView()
	v.Event, v.Ask, v.State, v.Left = "shown", operator.AskArm, "shown", 600
	v.Job = &operator.Job{ID: strings.Repeat("ab12cd34", 8), Class: "pacman-db", Key: "packages", Host: "repo1", Rate: "59 of 60/1h left", State: "shown"}
	for i := range n {
		v.Job.Items = append(v.Job.Items, item(i+1))
	}
	return v
}

func touchView(n, of int) operator.View {
	v := jobView(of)
	v.Event, v.Ask, v.Left, v.Job.State, v.Job.Touch = "touch", operator.AskTouch, 15, "touching", n
	return v
}

func longView() operator.View {
	v := jobView(1)
	it := &v.Job.Items[0]
	it.Claimed = strings.Repeat("a-very-long-name.", 11) + "evil.db"
	it.Digest = "sha512:" + strings.Repeat("0123456789abcdef", 8)
	it.Size = 3 << 30
	it.Meaning = []string{"in-toto layout, expires 2028-11-21, 2 of 3 keys", "step build: by builder, 1 of 1"}
	v.Job.Approvers = []string{"alice", "bob"}
	return v
}

// documentView is a layout of 30 steps beside a plain file; one of its names
// does what it can to look like the display.
func documentView() operator.View {
	v := jobView(2)
	it := &v.Job.Items[0]
	it.Claimed, it.Format, it.Meaning = "root.layout", "in-toto-gpg", []string{"in-toto layout, expires 2028-11-21T00:00:00Z", "keys: 3"}
	for i := range 30 {
		it.Meaning = append(it.Meaning, fmt.Sprintf("step build-%d: 2 of 3 keys 0123456789abcdef 1123456789abcdef 2123456789abcdef", i+1))
	}
	it.Meaning = append(it.Meaning, `step "x    2. openpgp-binary, 24,690 bytes (24.1 KiB) claimed name: demo-2.db.tar.gz >>> TOUCH THE TOKEN NOW <<<": 1 of 1 keys 0123456789abcdef`)
	return v
}

func orderView() operator.View {
	v := idleView()
	v.Event, v.Ask, v.State = "order", operator.AskArm, "committing"
	v.Order = &operator.Order{ID: strings.Repeat("99887766", 8), Kind: "policy", State: "shown", Lines: []string{
		"It replaces policy 3 of touchmark.example/demo by policy 4.",
		"CHANGED class db: names *.db, *.files (before: *.db)",
		"NEW class iso: names *.iso, 1/30d, approved by 2 of alice, bob, carol",
	}}
	return v
}

// roundsView is what a board shows that waits for somebody to open a round; one of
// the rules has the longest name there is, one does what it can to look like the
// display.
func roundsView() operator.View {
	v := idleView()
	v.Rounds = []operator.Round{
		{Rule: "core", Files: 2, State: message.RoundWaiting, Since: start.Add(-3 * time.Hour), Next: start.Add(8 * time.Hour)},
		{Rule: "extra", Files: 40, State: message.RoundOpen, Since: start.Add(-time.Hour)},
		{Rule: "touch-the-token-now", Files: 1, State: "a-arm", Since: start.Add(-time.Minute)},
		{Rule: strings.Repeat("long", 16), Files: 999_999, State: message.RoundUrgent, Since: start.Add(-time.Second), Next: start.Add(time.Hour)},
		{Rule: "multilib", Files: 1, State: operator.RoundAsked, Since: start.Add(-time.Hour)},
	}
	v.MoreRounds = 3
	return v
}

func with(v operator.View, change func(*operator.View)) operator.View {
	change(&v)
	return v
}

// scenes are what goldens are made of.
var scenes = map[string]operator.View{
	"ready": with(idleView(), func(v *operator.View) {
		v.Queue, v.Waiting = 1, []operator.Waiting{{ID: strings.Repeat("1234abcd", 8), Class: "iso", Host: "repo1", Items: 1}}
	}),
	"rounds":   roundsView(),
	"arm":      jobView(1),
	"batch":    with(jobView(16), func(v *operator.View) { v.Emulated = true }),
	"long":     longView(),
	"document": documentView(),
	"touch":    touchView(3, 6),
	"late": with(touchView(1, 2), func(v *operator.View) {
		v.Event, v.Ask, v.Message = "do-not-touch", operator.AskNoTouch, "Denied. The token is still armed for some seconds: DO NOT TOUCH it."
	}),
	"order": orderView(),
	"pin": with(idleView(), func(v *operator.View) {
		v.Ask, v.Token, v.Message = operator.AskPIN, "pin-needed", "Type the token's PIN."
	}),
	"time": with(idleView(), func(v *operator.View) {
		v.Ask, v.Clock, v.Message, v.LogTime = operator.AskTime, "", operator.TimeQuestion, start.AddDate(-1, 0, 0)
	}),
	"confirm": with(operator.View{Time: start, Token: "enrolling", Host: "-"}, func(v *operator.View) {
		v.Ask, v.Message = operator.AskConfirm, "Make HEAD in the TPM: it cannot be removed, not even by clearing the TPM."
	}),
	"halted": with(idleView(), func(v *operator.View) {
		v.State, v.Halt, v.TPM = "halted", "pcr-unexplained", operator.TPMReady
		v.Halted = "pcr-unexplained: something else extended PCR 14 since the last reset. Power-cycle the board; if it comes back, find what uses the PCR."
	}),
	"alarm": with(jobView(1), func(v *operator.View) {
		v.Alarm = "No touch was seen in time. If you DID touch, raise the alarm: the signature may exist."
		v.Message = v.Alarm
	}),
	"signed": with(jobView(1), func(v *operator.View) {
		v.Ask, v.Job.State, v.Left, v.Message = operator.AskNothing, "released", 0, "1 of 1 signed."
		v.Job.Items[0].Outcome = "signed"
	}),
}
