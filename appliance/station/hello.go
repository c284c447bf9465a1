package station

import (
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/quote"
)

// The ration of hellos: one per ten seconds in the long run, a few at once for
// a daemon that is being restarted.
const (
	helloBurst = 8
	helloEvery = 10 * time.Second
)

// hello checks who speaks and answers with a fresh attestation. Each costs the
// TPM a signature, so they are rationed and never queue up before it; a hello
// too many waits its turn, and only the newest waits.
func (s *Station) hello(h *message.HelloNote) {
	_, host, err := s.past.Policy.AuthenticateHost(h.Note)
	if err == nil {
		err = s.past.Policy.CheckOrigin(h.Hello.Origin)
	}
	if err != nil {
		s.unanswered(err)
		return
	}
	if !s.confirmed || s.starting || s.link.attesting {
		s.link.waiting = h // there is nothing to attest before the clock is right
		return
	}
	if wait := s.link.ration.Take(time.Now()); wait > 0 {
		s.link.waiting = h
		if !s.link.timed {
			s.link.timed = true
			s.after(wait, func() { s.link.timed = false; s.lateHello() })
		}
		return
	}
	s.link.host = host
	if d := s.decree; d != nil && d.state == decreeShown {
		d.alone = false
	}
	s.update()
	s.noteHead(h.Hello.HeadSize, h.Hello.HeadRoot)
	s.welcome(h.Hello.Nonce)
}

// unanswered counts what a stranger is not told.
func (s *Station) unanswered(err error) {
	r := refusalOf(err)
	s.refusals.Add(r.Code)
	s.hostLog.Warn().Err(&r).Msg("hello refused")
}

func (s *Station) lateHello() {
	if h := s.link.waiting; h != nil {
		s.link.waiting = nil
		s.hello(h)
	}
}

// noteHead remembers how far the host's mirror reaches, if it agrees with us.
func (s *Station) noteHead(size uint64, root [32]byte) {
	if size > s.cfg.Store.Size() {
		return
	}
	if r, err := s.cfg.Store.Root(size); err == nil && r == root {
		s.link.sent = max(s.link.sent, size)
	}
}

// welcome answers a hello. The attestation is made by the TPM's worker and says
// what HEAD holds, whether or not the log explains it.
func (s *Station) welcome(nonce [16]byte) {
	session := s.link.session
	s.link.attesting = true
	s.tpm.Do(func() func() {
		a, err := s.cfg.TPM.CertifyHead(quote.HelloTag(nonce[:]))
		return func() {
			s.link.attesting = false
			if err != nil {
				s.log.Error().Err(err).Msg("attesting for a hello")
			}
			if s.link.session == session {
				s.sendWelcome(nonce, a)
			}
			s.lateHello()
		}
	})
}

// sendWelcome tells the state of the log as it is now, not as it was when the
// hello came: entries sent in between would make it look rolled back.
func (s *Station) sendWelcome(nonce [16]byte, a quote.Attestation) {
	w := message.Welcome{
		Nonce: nonce, Origin: s.past.Trust.Origin, Firmware: Version, Policy: s.past.Policy.Hash,
		Time: s.now(), State: s.state(), Total: s.cfg.Store.Size(), Checkpoint: s.chain.Checkpoint,
		Attest: a.Attest, Sig: a.Sig,
	}
	s.send(chanInteractive, w.Marshal())
	s.askMirror()
}

// state is the board's state in one word.
func (s *Station) state() string {
	switch {
	case s.halted != nil:
		return message.StateHalted
	case !s.confirmed:
		return "time-unconfirmed"
	}
	return message.StateReady
}
