package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"touchmark/hostlink/hostd"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/config"
	"touchmark/hostlink/hostd/metrics"
)

// meter serves metrics of a daemon until ctx ends.
type meter func(ctx context.Context, d *hostd.Daemon, log zerolog.Logger)

// measured opens the listener of metrics, if the configuration has one, and has
// the daemon count.
func measured(c *config.Config, opt *hostd.Options) (meter, error) {
	if c.Metrics == "" {
		return func(context.Context, *hostd.Daemon, zerolog.Logger) {}, nil
	}
	l, err := metrics.Listen(c.Metrics, c.Mode())
	if err != nil {
		return nil, err
	}
	m := metrics.New()
	opt.Ended = m.Ended
	rounds := opt.Rounds
	return func(ctx context.Context, d *hostd.Daemon, log zerolog.Logger) {
		s := metrics.Source{Now: d.Snapshot, Clock: time.Now}
		if rounds != nil {
			s.Rounds = func() []api.Round { return rounds(ctx, &api.Request{Op: api.OpRound, Action: api.RoundList}).Rounds }
		}
		m.Set(s)
		if err := m.Serve(ctx, l); err != nil {
			log.Error().Err(err).Msg("no more metrics")
		}
	}, nil
}
