//go:build emulated || pcscd

package piv_test

import (
	"context"
	"testing"

	"touchmark/appliance/piv"
	"touchmark/tests/pivemu"
)

// What people do with a real token (real_test.go) works on the emulated one.
func TestRounds(t *testing.T) {
	for profile, alg := range map[string]string{"5.4.3": "rsa2048", "5.7.1": "p256"} {
		t.Run(profile, func(t *testing.T) {
			w := newWorld(t, pivemu.Config{Profile: profile})
			rounds(t, hands{
				open:  func() *piv.Token { return w.open() },
				touch: func(sign func()) { w.ok(w.card.SetTouchMode(pivemu.TouchAuto)); sign() },
				still: w.untouched,
				swap: func() {
					w.ok(w.port.Pull())
					removalNoticed(t)
					w.ok(w.port.Insert())
				},
			}, alg, false)
		})
	}
}

// untouched has the token's touch window end while sign runs.
func (w *world) untouched(sign func()) {
	w.ok(w.card.SetTouchMode(pivemu.TouchAsk))
	done := make(chan struct{})
	go func() { defer close(done); sign() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.ok(w.card.WaitTouch(ctx))
	w.ok(w.card.TimeOut())
	<-done
}
