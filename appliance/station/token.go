package station

import (
	"context"
	"errors"
	"slices"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// tokenKeeper owns the token: it opens it, notices its removal, and asks the
// operator for the PIN after each insertion. Its worker is the only goroutine
// that talks to the token; state is the loop's view of it.
type tokenKeeper struct {
	work   loop.Worker
	token  Token      // owned by the worker
	known  []past.Key // owned by the worker: the log's keys that the token was asked for
	has    []string   // owned by the worker: the names of those that it holds
	state  string     // owned by the loop
	device string     // owned by the loop: which token it is, in words
	holds  []string   // owned by the loop: the names of the log's keys that the token holds
	busy   bool       // owned by the loop: a poll or a signature is on its way

	entering bool // owned by the loop: a PIN is on its way
}

// The token's states, as the display names them.
const (
	tokenMissing = "missing"
	tokenWrong   = "wrong"
	tokenPIN     = "pin-needed"
	tokenReady   = "ready"
)

// startToken begins to look for the token, at once and then at intervals.
func (s *Station) startToken(ctx context.Context) {
	s.token.state = tokenMissing
	s.token.work.Start(ctx, s.loop)
	s.pollToken()
}

// stop ends the worker and then lets go of the token, which forgets its PIN.
func (k *tokenKeeper) stop() {
	k.work.Wait()
	if k.token != nil {
		_ = k.token.Close()
	}
}

// pollToken looks at the token when it is not in use, and again later.
func (s *Station) pollToken() {
	s.after(s.cfg.TokenPoll, s.pollToken)
	if s.token.busy || s.stopped {
		return
	}
	s.token.busy = true
	keys := s.past.Keys
	s.token.work.Do(func() func() {
		state, err := s.lookAtToken(keys)
		has := s.token.has
		return func() {
			s.token.busy = false
			s.setToken(state, has, err)
		}
	})
}

// lookAtToken runs on the worker. It opens a token that is not open yet and
// lets go of one that has vanished; it asks which of the log's keys it holds.
func (s *Station) lookAtToken(keys []past.Key) (string, error) {
	k := &s.token
	if k.token != nil && !k.token.Present() {
		k.drop()
	}
	if k.token == nil {
		t, err := s.cfg.Token()
		if err != nil {
			return tokenMissing, err
		}
		k.token = t
	}
	if k.has == nil || !slices.EqualFunc(keys, k.known, func(a, b past.Key) bool { return a.Name == b.Name }) {
		has, err := heldBy(k.token, keys)
		if err != nil {
			k.drop()
			return tokenWrong, err
		}
		k.known, k.has = keys, has
		if d, ok := k.token.(interface{ Describe() string }); ok {
			device := d.Describe()
			s.loop.Post(func() { k.device = device })
		}
	}
	return pinState(k.token), nil
}

// drop lets go of the token, on the worker.
func (k *tokenKeeper) drop() {
	_ = k.token.Close()
	k.token, k.known, k.has = nil, nil, nil
}

func pinState(t Token) string {
	if t.PINVerified() {
		return tokenReady
	}
	return tokenPIN
}

// setToken notes a change of the token's state and tells the operator.
func (s *Station) setToken(state string, holds []string, err error) {
	if state == s.token.state && slices.Equal(holds, s.token.holds) {
		return
	}
	s.token.state, s.token.holds = state, holds
	defer s.updates.Keep(s.lacks())
	switch state {
	case tokenMissing:
		s.token.device = ""
		s.log.Warn().Err(err).Msg("token gone")
		s.show("token-missing", "The token is not there. Insert it.")
	case tokenWrong:
		s.log.Error().Err(err).Msg("wrong token")
		s.show("token-wrong", err.Error())
	case tokenPIN:
		s.hostEvent(message.EventPINNeeded, 0, 0)
		if !s.clock.Confirmed() {
			s.update() // one question at a time: first the clock
			return
		}
		s.show("pin-needed", askPIN)
	case tokenReady:
		s.log.Info().Msg("token ready")
		s.show("token-ready", "")
	}
}

const askPIN = "Type the token's PIN."

// enterPIN hands the operator's PIN to the token, which may only just have been
// inserted. The PIN is zeroed whatever happens.
func (s *Station) enterPIN(pin []byte) {
	switch {
	case s.token.state == tokenReady:
		clear(pin)
		s.say("The token does not ask for a PIN now.")
		return
	case s.token.entering: // impatience must not cost tries
		clear(pin)
		s.say("A PIN is being checked already.")
		return
	}
	s.token.entering = true
	keys := s.past.Keys
	s.token.work.Do(func() func() {
		defer clear(pin)
		state, err := s.lookAtToken(keys)
		has := s.token.has
		if err != nil {
			return func() { s.token.entering = false; s.setToken(state, has, err); s.say(err.Error()) }
		}
		if state == tokenPIN {
			err = s.token.token.VerifyPIN(pin)
		}
		return func() { s.pinEntered(has, err) }
	})
}

func (s *Station) pinEntered(has []string, err error) {
	s.token.entering = false
	if err == nil {
		s.setToken(tokenReady, has, nil)
		return
	}
	s.log.Warn().Err(err).Msg("PIN refused")
	s.token.state, s.token.holds = tokenPIN, has
	s.hostEvent(message.EventPINWrong, 0, 0)
	s.show("pin-wrong", err.Error())
}

// touchWindow is how long a token waits for its touch (YubiKey: 15 s). Nobody
// but the token ends it; hosts are told so that they can count down.
const touchWindow = 15 * time.Second

// sign has the token sign one item of a job and turns the answer into a
// finished signature. It returns at once; the touch comes later.
func (s *Station) sign(j *job, item int) {
	plan, key := j.plans[item], j.key
	s.token.busy = true
	j.until = time.Now().Add(touchWindow)
	s.token.work.Do(func() func() {
		begun := time.Now()
		err := ceremony.ErrRemoved
		var sig, raw []byte
		if t := s.token.token; t != nil {
			what, hash := plan.Signed()
			raw, err = t.Sign(key.Slot, key.Cert.Key.Public, what, hash)
		}
		if err == nil {
			sig, err = plan.Finish(raw)
			clear(raw)
		}
		return func() { s.signed(j, item, sig, err, time.Since(begun)) }
	})
}

func (s *Station) signed(j *job, item int, sig []byte, err error, took time.Duration) {
	s.token.busy = false
	s.log.Info().Str("job", j.id.String()).Int("item", item).Dur("took", took).AnErr("error", err).Msg("token answered")
	switch {
	case errors.Is(err, ceremony.ErrRemoved):
		s.setToken(tokenMissing, nil, err)
	case errors.Is(err, ceremony.ErrPIN):
		s.setToken(tokenPIN, s.token.holds, err)
	}
	s.step(j, ceremony.TokenAnswered{Signature: sig, Err: err})
}

// startOperator passes the panel's commands into the loop.
func (s *Station) startOperator(ctx context.Context) {
	s.operator.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case c, ok := <-s.cfg.Panel.Commands():
				if !ok {
					s.loop.PostOperator(s.stop)
					return
				}
				s.loop.PostOperator(func() { s.command(c) })
			}
		}
	})
}

// command obeys the operator.
func (s *Station) command(c operator.Command) {
	switch c.Verb {
	case operator.Quit:
		s.stop()
	case operator.PIN:
		s.enterPIN(c.PIN)
	case operator.Time:
		s.confirmTime()
	case operator.Open:
		s.openRound(c.Rule)
	case operator.Arm, operator.Deny, operator.Unmirrored:
		s.decided(c)
	}
}

// decided is the operator's word about what is on display.
func (s *Station) decided(c operator.Command) {
	switch {
	case s.decideOrder(c):
	case c.Verb == operator.Arm:
		s.armJob(c.Job)
	case c.Verb == operator.Deny:
		s.denyJob(c.Job)
	default:
		s.say("That is not the order on display.")
	}
}

func (s *Station) confirmTime() {
	switch {
	case s.clock.Confirmed():
		s.say("The time is confirmed already.")
		return
	case s.halted != nil:
		s.say("The board has halted.")
		return
	}
	s.boot(ledger.ClockOperator)
}
