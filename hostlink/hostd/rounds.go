package hostd

import (
	"cmp"
	"context"
	"slices"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// serveRound passes a request on to whoever drives the rounds. A client that
// goes away does not wait any longer.
func (d *Daemon) serveRound(ctx context.Context, lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	if d.o.Rounds == nil {
		_ = say(api.Fail(api.Usage, "touchmark-hostd has no [[watch]] rules: see docs/rounds.md"))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		var next api.Request
		_ = lines.Read(&next) // whatever it says, or that it is gone, means stop
	}()
	_ = say(d.o.Rounds(ctx, req))
}

// followRounds keeps the board told of what waits for a round, and opens those
// that its operator wants, until ctx ends. Once in a while is as fast as people
// are, and forged messages open no more than one round in that time.
func (d *Daemon) followRounds(ctx context.Context, look <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
		}
		list := d.o.Rounds(ctx, &api.Request{Op: api.OpRound, Action: api.RoundList})
		answer := len(d.opens) > 0
		if wanted := d.wanted(list.Rounds); len(wanted) > 0 {
			d.log.Info().Strs("rules", wanted).Msg("the appliance's operator opens rounds")
			if r := d.o.Rounds(ctx, &api.Request{Op: api.OpRound, Action: api.RoundOpen, Rules: wanted}); !r.OK {
				d.log.Error().Str("why", r.Error).Msg("rounds are not opened")
			}
			list = d.o.Rounds(ctx, &api.Request{Op: api.OpRound, Action: api.RoundList})
		}
		if list.OK {
			d.loop.Post(func() { d.announce(list.Rounds, answer) })
		}
	}
}

// wanted takes what the board's operator wants opened: of that, the rules that
// have something waiting and are not open as urgent ones.
func (d *Daemon) wanted(rounds []api.Round) (rules []string) {
	asked := map[string]bool{}
	for range len(d.opens) {
		asked[<-d.opens] = true
	}
	for _, r := range rounds {
		if asked[r.Rule] && len(r.Unsigned) > 0 && !(r.Open && r.Urgent) {
			rules = append(rules, r.Rule)
		}
	}
	return rules
}

// openRound takes the operator's wish. It is a hint that somebody on the cable may
// have made: what it leads to is on the board's display.
func (d *Daemon) openRound(m *message.OpenRound) {
	select {
	case d.opens <- m.Rule:
	default:
		d.log.Warn().Str("rule", m.Rule).Msg("the appliance asks for more rounds than there can be")
	}
}

// announce tells the board what waits, if that is not what it was told; or all the
// same, as an answer.
func (d *Daemon) announce(rounds []api.Round, answer bool) {
	if !d.ready() {
		return
	}
	m := message.Rounds{Origin: d.mirror.Pinned().Origin, HostTime: d.loop.Now()}
	m.Rounds, m.More = announced(rounds)
	if told := &d.conv.told; answer || d.conv.untold || !slices.Equal(told.Rounds, m.Rounds) || told.More != m.More {
		n, err := d.signed(m.Marshal())
		if err != nil {
			d.log.Error().Err(err).Msg("rounds cannot be announced")
			return
		}
		*told, d.conv.untold = m, false
		d.send(n)
	}
}

// skewed takes the board's word that its clock and this host's differ by too much: if it
// was an announcement that it did not take, it gets it again when one of them may be set.
func (d *Daemon) skewed() {
	c := d.conv
	if c.skewed {
		return
	}
	c.skewed = true
	d.loop.After(d.loop.Waits.SkewRetry, func() { c.skewed, c.untold = false, true })
}

// announced is what the board is told of rules: those under which something waits
// for a signature, what has waited longest first, and how many more there are.
func announced(rounds []api.Round) (out []message.Round, more int) {
	for i := range rounds {
		if r, ok := oneRound(&rounds[i]); ok {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b message.Round) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Rule, b.Rule)) })
	most := min(len(out), message.MaxRounds)
	return out[:most], len(out) - most
}

func oneRound(a *api.Round) (r message.Round, ok bool) {
	since, err := time.Parse(time.RFC3339, a.Waiting)
	if err != nil || len(a.Unsigned) == 0 {
		return r, false
	}
	r = message.Round{Rule: a.Rule, Files: len(a.Unsigned), State: message.RoundWaiting, Since: since.UTC()}
	if next, err := time.Parse(time.RFC3339, a.Next); err == nil {
		r.Next = next.UTC()
	}
	switch {
	case a.Open && a.Urgent:
		r.State = message.RoundUrgent
	case a.Open:
		r.State = message.RoundOpen
	}
	return r, true
}
