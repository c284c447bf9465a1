package anchor

import (
	"testing"

	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

// run is a log's worth of commits and boots, folded as they are made.
type run struct {
	t      *testing.T
	tpm    *quotetest.TPM
	replay Replay
	size   uint64
	boots  uint64
	x      [32]byte
}

func (r *run) verify(nv, q quote.Attestation, nvTag, qTag [32]byte) (*quote.NVFacts, *quote.QuoteFacts) {
	r.t.Helper()
	n, err := r.tpm.AK().VerifyNV(nv, r.tpm.HeadName(), nvTag)
	if err != nil {
		r.t.Fatal(err)
	}
	if q.Attest == nil {
		return &n, nil
	}
	f, err := r.tpm.AK().VerifyQuote(q, r.tpm.PCRIndex, qTag)
	if err != nil {
		r.t.Fatal(err)
	}
	return &n, &f
}

func (r *run) commit() {
	r.size += 3
	r.x = [32]byte{byte(r.size)}
	r.tpm.ExtendHead(r.x)
	r.tpm.ExtendPCR(r.x)
}

func (r *run) attest() []Problem {
	nv, q := r.verify(r.tpm.CertifyHead([32]byte{1}), r.tpm.QuotePCR([32]byte{2}), [32]byte{1}, [32]byte{2})
	return r.replay.Attest(&ledger.Attest{Size: r.size}, r.x, nv, q)
}

// mend is the attest entry that recovery adds, without a quote.
func (r *run) mend() []Problem {
	nv, q := r.verify(r.tpm.CertifyHead([32]byte{1}), quote.Attestation{}, [32]byte{1}, [32]byte{2})
	return r.replay.Attest(&ledger.Attest{Size: r.size}, r.x, nv, q)
}

func (r *run) boot() []Problem {
	r.boots++
	nv, q := r.verify(r.tpm.CertifyHead([32]byte{1}), r.tpm.QuotePCR([32]byte{1}), [32]byte{1}, [32]byte{1})
	return r.replay.Boot(&ledger.Boot{Number: r.boots, Committed: r.size, Head: r.tpm.Head, PCR: r.tpm.PCR}, r.x, nv, q)
}

func newRun(t *testing.T) *run {
	r := &run{t: t, tpm: quotetest.New()}
	r.commit()
	r.want(r.attest())
	r.want(r.boot())
	r.commit()
	r.want(r.attest())
	return r
}

func (r *run) want(got []Problem, codes ...string) {
	r.t.Helper()
	if len(got) != len(codes) {
		r.t.Fatalf("%+v, want %v", got, codes)
	}
	for i := range got {
		if got[i].Code != codes[i] {
			r.t.Fatalf("%+v, want %v", got, codes)
		}
	}
}

func TestReplayHonest(t *testing.T) {
	r := newRun(t)
	r.tpm.PowerCycle()
	r.want(r.boot())
	r.commit() // then the board dies before its attest entry, PCR and all
	r.tpm.PowerCycle()
	r.want(r.boot())
	r.want(r.attest()) // made good after the boot
	r.commit()         // the board restarts, the TPM does not
	r.want(r.boot())
	r.commit()
	r.want(r.attest())
	r.commit() // and dies again; this time the attest entry comes before the boot entry
	r.tpm.PowerCycle()
	r.want(r.mend())
	r.want(r.boot())
	r.commit()
	r.want(r.mend())
	if r.replay.Committed() != r.size || r.replay.Head() != r.tpm.Head {
		t.Error("replay does not end where the TPM stands")
	}
}

func TestReplayProblems(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *run) []Problem
		want []string
	}{
		{"a hidden extension of HEAD", func(r *run) []Problem { r.tpm.ExtendHead([32]byte{9}); r.commit(); return r.attest() }, []string{CodeHead}},
		{"a hidden extension of the PCR", func(r *run) []Problem { r.tpm.ExtendPCR([32]byte{9}); r.commit(); return r.attest() }, []string{CodePCR}},
		{"after one PCR mismatch, no more", func(r *run) []Problem {
			r.tpm.ExtendPCR([32]byte{9})
			r.commit()
			r.attest()
			r.commit()
			return r.attest()
		}, []string{CodePCRUnknown}},
		{"an older size again", func(r *run) []Problem { r.size -= 3; return r.attest() }, []string{CodeOrder}},
		{"a boot at an older size", func(r *run) []Problem { r.size -= 3; return r.boot() }, []string{CodeOrder}},
		{"a reset nobody logged", func(r *run) []Problem {
			r.tpm.Clock.ResetCount++
			r.commit()
			return r.attest()
		}, []string{CodeReset}},
		{"a restart nobody logged", func(r *run) []Problem { r.tpm.Clock.RestartCount++; r.commit(); return r.attest() }, []string{CodeReset}},
		{"a reset behind an entry without a quote", func(r *run) []Problem {
			r.tpm.PowerCycle()
			r.commit()
			r.mend()
			r.commit()
			return r.attest()
		}, []string{CodeReset, CodePCR}},
		{"counters back", func(r *run) []Problem { r.tpm.Clock.ResetCount--; r.commit(); return r.attest() }, []string{CodeCounter}},
		{"clock back", func(r *run) []Problem { r.tpm.Clock.Millis -= 3000; r.commit(); return r.attest() }, []string{CodeClock}},
		{"two resets between boots", func(r *run) []Problem { r.tpm.PowerCycle(); r.tpm.PowerCycle(); return r.boot() }, []string{CodeResets}},
		{"a boot left out", func(r *run) []Problem { r.boots++; return r.boot() }, []string{CodeBootNumber}},
		{"PCR kept through a reset", func(r *run) []Problem { r.tpm.Clock.ResetCount++; return r.boot() }, []string{CodePCR}},
		{"PCR cleared without a reset", func(r *run) []Problem { r.tpm.PCR = [32]byte{}; return r.boot() }, []string{CodePCR}},
		{"another HEAD at boot", func(r *run) []Problem { r.tpm.Head = [32]byte{7}; return r.boot() }, []string{CodeHead}},
		{"checkpoint of an older size", func(r *run) []Problem { return r.replay.Checkpoint(&Checkpoint{Size: 1}) }, []string{CodeOrder}},
		{"checkpoint with another HEAD", func(r *run) []Problem {
			return r.replay.Checkpoint(&Checkpoint{Size: r.size + 1, X: [32]byte{1}, Facts: quote.NVFacts{Contents: [32]byte{1}}})
		}, []string{CodeHead}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t)
			r.want(tt.do(r), tt.want...)
		})
	}
}

// resume is what administrators do to a board whose HEAD took what nobody has:
// an entry, its commit, and the boot entry behind it.
func (r *run) resume(taken bool) []Problem {
	nv, _ := r.verify(r.tpm.CertifyHead([32]byte{1}), quote.Attestation{}, [32]byte{1}, [32]byte{2})
	e := &ledger.Order{Action: ledger.KindResume, PCR: r.tpm.PCR}
	if taken {
		r.replay.Order(e, r.size+2, nv)
		r.commit()
	} else {
		r.replay.Order(e, r.size+1, nv)
	}
	return r.boot()
}

func TestReplayResume(t *testing.T) {
	for name, harm := range map[string]func(r *run){
		"HEAD took a commit that is lost":     func(r *run) { r.tpm.ExtendHead([32]byte{9}); r.tpm.ExtendPCR([32]byte{9}) },
		"and the TPM was reset":               func(r *run) { r.tpm.ExtendHead([32]byte{9}); r.tpm.PowerCycle() },
		"the PCR took something":              func(r *run) { r.tpm.ExtendPCR([32]byte{9}) },
		"the PCR took something past a reset": func(r *run) { r.tpm.PowerCycle(); r.tpm.ExtendPCR([32]byte{9}) },
		"HEAD went back":                      func(r *run) { r.tpm.Head = [32]byte{5} },
		"the whole TPM went back":             func(r *run) { r.tpm.Head, r.tpm.Clock = [32]byte{5}, quote.Clock{Safe: true} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t)
			harm(r)
			r.want(r.resume(true), CodeResumed)
			r.commit()
			r.want(r.attest())
			r.tpm.PowerCycle()
			r.want(r.boot())
			r.commit()
			r.want(r.mend())
			if r.replay.Committed() != r.size || r.replay.Head() != r.tpm.Head {
				t.Error("replay does not end where the TPM stands")
			}
		})
	}
}

// A resume entry that HEAD did not take explains nothing, and is no excuse.
func TestReplayResumeVoid(t *testing.T) {
	r := newRun(t)
	r.want(r.resume(false))
	r.commit()
	r.want(r.attest())
	r = newRun(t)
	r.tpm.ExtendHead([32]byte{9})
	r.want(r.resume(false), CodeHead)
}

func TestReplayResumeUnverified(t *testing.T) {
	r := newRun(t)
	r.tpm.ExtendHead([32]byte{9})
	r.commit()
	r.replay.Order(&ledger.Order{Action: ledger.KindResume}, r.size-1, nil)
	r.want(r.attest(), CodeHead)
}

func TestReplayGenesisBase(t *testing.T) {
	r := &run{t: t, tpm: quotetest.New()}
	r.tpm.ExtendHead([32]byte{1}) // an earlier log's
	r.want(r.replay.Genesis(&ledger.Genesis{Base: r.tpm.Head}), CodeInherited)
	r.commit()
	r.want(r.attest())
	r = &run{t: t, tpm: quotetest.New()}
	r.tpm.ExtendHead([32]byte{1})
	r.want(r.replay.Genesis(&ledger.Genesis{}))
	r.commit()
	r.want(r.attest(), CodeHead)
}

func TestReplayClose(t *testing.T) {
	r := newRun(t)
	r.commit()
	r.replay.Order(&ledger.Order{Action: ledger.KindClose}, r.size-1, nil)
	if r.replay.Closed() {
		t.Error("closed before HEAD took it")
	}
	r.want(r.attest())
	r.tpm.PowerCycle()
	r.want(r.boot())
	if !r.replay.Closed() {
		t.Error("not closed")
	}
	r.commit()
	r.want(r.attest(), CodeClosed)

	r = newRun(t) // a close entry that HEAD did not take closes nothing
	r.replay.Order(&ledger.Order{Action: ledger.KindClose}, r.size, nil)
	r.commit()
	r.want(r.attest())
	r.want(r.boot())
	if r.replay.Closed() {
		t.Error("closed by a void entry")
	}
}

func TestReplayCounterWrap(t *testing.T) {
	r := &run{t: t, tpm: quotetest.New()}
	r.tpm.Clock.ResetCount = 1<<32 - 1
	r.commit()
	r.want(r.attest())
	r.tpm.PowerCycle()
	r.want(r.boot())
}
