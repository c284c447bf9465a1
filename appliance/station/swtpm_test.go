package station

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"touchmark/appliance/enrol/genesis"
	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tests/swtpm"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

// rooted is a board on a software TPM that is a program of its own.
func rooted(t *testing.T) (*board, *swtpm.Server) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	b := &board{t: t, dir: t.TempDir(), acks: true,
		refused: map[message.JobID]*message.Refused{}, ended: map[message.JobID]*message.Done{}}
	b.token = &fakeToken{key: key, slots: map[string]*ecdsa.PrivateKey{"9c": key}, touch: make(chan error), waiting: make(chan struct{}, 16)}
	b.tpm = &fakeTPM{tpm: quotetest.New()} // for its constants
	server := swtpm.Start(t)
	dev, err := device.Open(server.Spec())
	must(t, err)
	t.Cleanup(func() { must(t, dev.Close()) })
	now := time.Now().UTC().Truncate(time.Second)
	g := b.genesis(nil, func(outside []byte) quote.Creation {
		e, err := dev.MakeAK(outside)
		must(t, err)
		b.tpm.public = e.AK
		return e.Creation
	}, now)
	must(t, dev.MakeHead())
	g.AK, g.Head, g.HeadName, g.PCR = b.tpm.public, dev.Config().Head, quote.HeadName(dev.Config().Head), dev.Config().PCR
	b.trust, err = genesis.Commit(b.dir, dev, g, now)
	must(t, err)
	b.cfg.TPM = dev
	return b, server
}

// newestBoot is the newest boot entry of the mirror, with the TPM's counters in
// it.
func (b *board) newestBoot() (*ledger.Boot, quote.Clock) {
	b.t.Helper()
	ak, err := quote.ParseAK(b.trust.AK)
	must(b.t, err)
	var boot *ledger.Boot
	var tree ledger.Tree
	xs := map[uint64][32]byte{}
	for _, raw := range b.entries {
		tree.Add(ledger.LeafHash(raw))
		xs[tree.Size()] = ledger.X(ledger.CheckpointBody(origin, tree.Size(), tree.Root()))
		_, body, err := ledger.Parse(raw)
		must(b.t, err)
		if e, ok := body.(*ledger.Boot); ok {
			boot = e
		}
	}
	facts, err := ak.VerifyNV(boot.Certify, b.trust.HeadName, quote.BootTag(xs[boot.Committed]))
	must(b.t, err)
	return boot, facts.Clock
}

// However the TPM loses its power and gets it back, or does not, while the board
// is off or while it runs: a boot entry accounts for it, the board signs, and
// nothing in the log is evidence.
func TestPowerOfARealTPM(t *testing.T) {
	cycle := func(c swtpm.Cycle) func(*swtpm.Server) error {
		return func(s *swtpm.Server) error { return s.Cycle(c) }
	}
	for _, c := range []struct {
		name             string
		do               func(*swtpm.Server) error
		resets, restarts uint32
		cleared          bool
	}{
		{"warm reboot without a reset", func(*swtpm.Server) error { return nil }, 0, 0, false},
		{"orderly reset", cycle(swtpm.Reset), 1, 0, true},
		{"unorderly reset", (*swtpm.Server).PowerCycle, 1, 0, true},
		{"hibernation", cycle(swtpm.Restart), 0, 1, true},
		{"suspend and resume", cycle(swtpm.Resume), 0, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, server := rooted(t)
			b.start()
			b.connect()
			b.signs("a.db", "content")
			_, before := b.newestBoot()
			b.kill()
			must(t, c.do(server))
			b.start()
			b.connect()
			boot, after := b.newestBoot()
			if after.ResetCount-before.ResetCount != c.resets || c.resets == 0 && after.RestartCount-before.RestartCount != c.restarts {
				t.Errorf("resetCount %d then %d, restartCount %d then %d", before.ResetCount, after.ResetCount, before.RestartCount, after.RestartCount)
			}
			if cleared := boot.PCR == [32]byte{}; cleared != c.cleared {
				t.Errorf("the PCR at boot is %x", boot.PCR)
			}
			b.signs("b.db", "content")
			b.replays()
		})
	}
}

// A TPM that ran on knows how much time passed; one that lost its power does not.
func TestClockOfARealTPM(t *testing.T) {
	b, server := rooted(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.kill()
	b.cfg.Clock, b.away = func() time.Time { return time.Now().Add(time.Hour) }, time.Hour
	b.start()
	b.view("a halt", func(v operator.View) bool { return v.Halt == string(recovery.ClockAhead) })
	b.kill()
	must(t, server.PowerCycle())
	b.start()
	b.connect()
	b.signs("b.db", "content")
	b.replays()
}

// The same while the board runs: an idle board notices a PCR that was cleared by
// itself; a TPM that slept kept it, and is noticed by the attestation of the next
// commit, whose signature is withheld.
func TestPowerOfARealTPMWhileRunning(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      func(*swtpm.Server) error
		noticed bool
	}{
		{"reset", (*swtpm.Server).PowerCycle, true},
		{"suspend and resume", func(s *swtpm.Server) error { return s.Cycle(swtpm.Resume) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, server := rooted(t)
			b.cfg.TPMPoll = time.Millisecond
			b.start()
			b.connect()
			b.signs("a.db", "content")
			b.view("idleness", func(v operator.View) bool { return v.Event == "done" })
			must(t, c.do(server))
			if !c.noticed {
				id, m := b.job([]string{"slept.db"}, "content")
				b.submit(m)
				b.arm(id)
				b.awaitTouch()
				b.token.touch <- nil
				if o := b.end(id); o.Items[0].State != ledger.Withheld {
					t.Fatalf("%+v", o.Items[0])
				}
			}
			b.view("a start", func(v operator.View) bool { return v.Event == "ready" })
			b.connect()
			b.signs("b.db", "content")
			b.replays()
			if n := b.boots(); n != 2 {
				t.Errorf("%d boot entries, want 2", n)
			}
		})
	}
}
