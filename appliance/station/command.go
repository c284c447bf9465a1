package station

import (
	"context"

	"touchmark/appliance/operator"
	"touchmark/tpm/ledger"
)

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
		s.token.Enter(c.PIN)
	case operator.Time:
		s.confirmTime()
	case operator.Open:
		s.say(s.rounds.Open(c.Rule, s.halted == nil && !s.stopping))
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
