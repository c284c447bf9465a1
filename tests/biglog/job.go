package biglog

import (
	"crypto"
	"crypto/elliptic"
	"fmt"
	"runtime"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/message"
)

var curve = elliptic.P256()

// job is a round's part that does not depend on the log: request and
// signatures. Jobs are made on all processors, ahead of the log.
type job struct {
	time       time.Time
	id         message.JobID
	approval   []byte
	digests    []message.Digest
	signatures [][]byte
	err        error
}

// jobs makes rounds, in order, until all signatures are made.
func (w *writer) jobs(signatures int) <-chan *job {
	workers := runtime.GOMAXPROCS(0)
	ordered := make(chan chan *job, 4*workers)
	go func() {
		defer close(ordered)
		slots := make(chan struct{}, workers)
		for round, left := 0, signatures; left > 0; round++ {
			n := min(left, w.batches[round%len(w.batches)])
			left -= n
			made := make(chan *job, 1)
			slots <- struct{}{}
			go func() {
				made <- w.job(round, n)
				<-slots
			}()
			ordered <- made
		}
	}()
	out := make(chan *job)
	go func() {
		defer close(out)
		for made := range ordered {
			out <- <-made
		}
	}()
	return out
}

// at is when a round takes place: 96 a day, ten minutes apart.
func at(round int) time.Time {
	return begin.AddDate(0, 0, round/perDay).Add(time.Minute + time.Duration(round%perDay)*apart)
}

func (w *writer) job(round, items int) *job {
	j := &job{time: at(round)}
	a := message.Approval{Origin: Origin, Class: "packages", NotAfter: j.time.Add(time.Hour)}
	copy(a.Nonce[:], fmt.Sprintf("%016d", round))
	var states []hashstate.State
	for i := range items {
		h := hashstate.New([]message.Alg{message.SHA256, message.SHA512}[i/12])
		if _, err := h.Write(artifact(round, i)); err != nil {
			j.err = err
			return j
		}
		s := h.State()
		states = append(states, s)
		a.Items = append(a.Items, message.Item{Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: s.Alg(), Sum: s.Digest()}, Size: s.Count(),
			Name: fmt.Sprintf("package-%d-1.%d.pkg.tar.zst", i, round)})
	}
	text := a.Marshal()
	j.id = message.JobOf(text)
	if j.approval, j.err = message.SignNote(text); j.err == nil {
		j.err = w.signAll(j, states)
	}
	return j
}

func (w *writer) signAll(j *job, states []hashstate.State) error {
	for _, s := range states {
		p, err := sigformat.OpenPGPBinary.Plan(w.key, s, j.time, Origin, j.id)
		if err != nil {
			return err
		}
		raw, err := w.sign(p.Digest, map[message.Alg]crypto.Hash{message.SHA256: crypto.SHA256, message.SHA512: crypto.SHA512}[p.Alg])
		if err != nil {
			return err
		}
		sig, err := p.Finish(raw)
		if err != nil {
			return err
		}
		j.digests = append(j.digests, message.Digest{Alg: p.Alg, Sum: p.Digest})
		j.signatures = append(j.signatures, sig)
	}
	return nil
}
