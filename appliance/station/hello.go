package station

import (
	"errors"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/fault"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/quote"
)

// The ration of hellos: one per ten seconds in the long run, a few at once for
// a daemon that is being restarted.
const (
	helloBurst = 8
	helloEvery = 10 * time.Second
)

// greeting is what the board owes whoever says hello.
type greeting struct {
	ration    intake.Ration      // of hellos
	waiting   *message.HelloNote // the newest that could not be answered yet
	told      *message.HelloNote // the newest that was answered without an attestation
	timed     bool               // a timer will take it up
	attesting bool               // the TPM is at work for one
}

// hello checks who speaks and answers with a fresh attestation. Each costs the
// TPM a signature, so they are rationed and never queue up before it; a hello
// too many waits its turn, and only the newest waits.
func (s *Station) hello(h *message.HelloNote) {
	if s.past.Policy == nil {
		s.unheard()
		return
	}
	_, host, err := s.past.Policy.AuthenticateHost(h.Note)
	if err == nil {
		err = s.past.Policy.CheckOrigin(h.Hello.Origin)
	}
	if err != nil {
		s.unanswered(err)
		return
	}
	if s.silent {
		s.unproven(h, host)
		return
	}
	if s.halted == nil && (!s.clock.Confirmed() || s.starting) || s.greeting.attesting {
		s.greeting.waiting = h // there is nothing to attest before the clock is right
		return
	}
	if wait := s.greeting.ration.Take(time.Now()); wait > 0 {
		s.greeting.waiting = h
		if !s.greeting.timed {
			s.greeting.timed = true
			s.loop.After(wait, func() { s.greeting.timed = false; s.lateHello() })
		}
		return
	}
	s.line.Greet(host)
	if d := s.decree; d != nil && d.state == decreeShown {
		d.alone = false
	}
	s.updates.Keep(s.lacks())
	s.update()
	s.noteHead(h.Hello.HeadSize, h.Hello.HeadRoot)
	s.welcome(h.Hello.Nonce)
}

// unproven answers a hello while the TPM is silent: who the board is and what is
// the matter with it, without an attestation. The hello is answered again when
// there is one.
func (s *Station) unproven(h *message.HelloNote, host string) {
	s.greeting.waiting = h
	if h == s.greeting.told || s.greeting.ration.Take(time.Now()) > 0 {
		return
	}
	s.greeting.told = h
	s.line.Greet(host)
	s.update()
	s.noteHead(h.Hello.HeadSize, h.Hello.HeadRoot)
	s.sendWelcome(h.Hello.Nonce, quote.Attestation{})
}

// unheard answers a hello where no log says who may speak: why the board has
// halted, and nothing else.
func (s *Station) unheard() {
	if s.halted == nil || s.greeting.ration.Take(time.Now()) > 0 {
		return
	}
	m := message.Refused{Code: message.CodeHalted, Text: haltedText(s.halted)}
	s.line.Answer(m.Marshal())
}

// unanswered counts what a stranger is not told.
func (s *Station) unanswered(err error) {
	r := intake.RefusalOf(err)
	s.refusals.Add(r.Code)
	s.hostLog.Warn().Err(&r).Msg("hello refused")
}

func (s *Station) lateHello() {
	if h := s.greeting.waiting; h != nil {
		s.greeting.waiting = nil
		s.hello(h)
	}
}

// noteHead remembers how far the host's mirror reaches, if it agrees with us.
func (s *Station) noteHead(size uint64, root [32]byte) {
	s.promised(size)
	if size > s.cfg.Store.Size() {
		return
	}
	if r, err := s.cfg.Store.Root(size); err == nil && r == root {
		s.line.Has(size)
	}
}

// promised tells a halted board whether a mirror claims to have what it lacks.
func (s *Station) promised(size uint64) {
	var h *fault.HaltError
	if !errors.As(s.halted, &h) || h.Halt != recovery.HeadUnknown && h.Halt != recovery.HeadAhead {
		return
	}
	h.Observed.Mirror = size
	h.Decision = recovery.Decide(h.Observed)
	h.Halt = h.Decision.Halt
	s.update()
}

// welcome answers a hello. The attestation is made by the TPM's worker and says
// what HEAD holds, whether or not the log explains it.
func (s *Station) welcome(nonce [16]byte) {
	session := s.line.Session()
	s.greeting.attesting = true
	s.tpm.Do(func() func() {
		a, err := s.cfg.TPM.CertifyHead(quote.HelloTag(nonce[:]))
		return func() {
			s.greeting.attesting = false
			if err != nil {
				s.log.Error().Err(err).Msg("attesting for a hello")
			}
			if s.line.Session() == session {
				s.sendWelcome(nonce, a)
			}
			s.lateHello()
		}
	})
}

// sendWelcome tells the state of the log as it is now, not as it was when the
// hello came: entries sent in between would make it look rolled back.
func (s *Station) sendWelcome(nonce [16]byte, a quote.Attestation) {
	s.measure()
	now := s.standing()
	w := message.Welcome{
		Nonce: nonce, Origin: s.past.Trust.Origin, Firmware: s.cfg.Firmware, Policy: s.past.Policy.Hash,
		Time: s.clock.Now(), State: now.State(), Halt: string(now.Halt), Writes: s.wear.Writes, Days: s.wear.Days, Total: s.cfg.Store.Size(), Checkpoint: s.chain.Checkpoint,
		Attest: a.Attest, Sig: a.Sig,
	}
	s.line.Send(w.Marshal())
	s.askMirror()
}
