// Package announce tells the board what waits for a round of signatures, and opens those that its operator wants.
package announce

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/conversation"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/message"
)

// Rounds are what the board is told of. But for Follow they belong to the loop.
type Rounds struct {
	o     Options
	told  *told
	opens chan string // rules of which the board's operator wants a round; Follow takes them
}

// Options are what Rounds is made of.
type Options struct {
	Serve  func(context.Context, *api.Request) *api.Response // answers OpRound
	Loop   *loop.Loop
	Board  *conversation.Board
	Origin string // of the log
	Log    zerolog.Logger
}

// told is what the board was told in a session; it begins with nothing.
type told struct {
	last   message.Rounds
	again  bool // it did not take that: it is told again
	skewed bool // … after a while, when the clock that was wrong may be right
}

// New makes rounds that the board has not been told of.
func New(o Options) *Rounds {
	return &Rounds{o, &told{}, make(chan string, round.MaxRules)}
}

// Over is the end of a session: the next is told anew.
func (r *Rounds) Over() { r.told = &told{} }

// Follow keeps the board told of what waits for a round, and opens those
// that its operator wants, until ctx ends. Once in a while is as fast as people
// are, and forged messages open no more than one round in that time.
func (r *Rounds) Follow(ctx context.Context, look <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
		}
		list := r.o.Serve(ctx, &api.Request{Op: api.OpRound, Action: api.RoundList})
		answer := len(r.opens) > 0
		if wanted := r.wanted(list.Rounds); len(wanted) > 0 {
			r.o.Log.Info().Strs("rules", wanted).Msg("the appliance's operator opens rounds")
			if done := r.o.Serve(ctx, &api.Request{Op: api.OpRound, Action: api.RoundOpen, Rules: wanted}); !done.OK {
				r.o.Log.Error().Str("why", done.Error).Msg("rounds are not opened")
			}
			list = r.o.Serve(ctx, &api.Request{Op: api.OpRound, Action: api.RoundList})
		}
		if list.OK {
			r.o.Loop.Post(func() { r.announce(list.Rounds, answer) })
		}
	}
}

// wanted takes what the board's operator wants opened: of that, the rules that
// have something waiting and are not open as urgent ones.
func (r *Rounds) wanted(rounds []api.Round) (rules []string) {
	asked := map[string]bool{}
	for range len(r.opens) {
		asked[<-r.opens] = true
	}
	for _, r := range rounds {
		if asked[r.Rule] && len(r.Unsigned) > 0 && !(r.Open && r.Urgent) {
			rules = append(rules, r.Rule)
		}
	}
	return rules
}

// Open takes the operator's wish. It is a hint that somebody on the cable may
// have made: what it leads to is on the board's display.
func (r *Rounds) Open(m *message.OpenRound) {
	select {
	case r.opens <- m.Rule:
	default:
		r.o.Log.Warn().Str("rule", m.Rule).Msg("the appliance asks for more rounds than there can be")
	}
}

// announce tells the board what waits, if that is not what it was told; or all the
// same, as an answer.
func (r *Rounds) announce(rounds []api.Round, answer bool) {
	if !r.o.Board.Ready() {
		return
	}
	m := message.Rounds{Origin: r.o.Origin, HostTime: r.o.Loop.Now()}
	m.Rounds, m.More = announced(rounds)
	if t := r.told; answer || t.again || !slices.Equal(t.last.Rounds, m.Rounds) || t.last.More != m.More {
		n, err := r.o.Board.Signed(m.Marshal())
		if err != nil {
			r.o.Log.Error().Err(err).Msg("rounds cannot be announced")
			return
		}
		t.last, t.again = m, false
		r.o.Board.Send(n)
	}
}

// Skewed takes the board's word that its clock and this host's differ by too much: if it
// was an announcement that it did not take, it gets it again when one of them may be set.
func (r *Rounds) Skewed() {
	t := r.told
	if t.skewed {
		return
	}
	t.skewed = true
	r.o.Loop.After(r.o.Loop.Waits.SkewRetry, func() { t.skewed, t.again = false, true })
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
