package station

import (
	"context"
	"fmt"
	"time"

	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/tpm/anchor/recovery"
)

// scrub reads the whole log beside everything else: a start reads its newest
// part only. Damage halts the board. What it answers waits for the end.
func (s *Station) scrub(ctx context.Context) (wait func()) {
	if _, gone := s.cfg.Store.(past.Absent); gone {
		return func() {}
	}
	done := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	var told time.Time
	progress := func(read, total int64) {
		if time.Since(told) >= time.Second {
			told = time.Now()
			s.loop.Post(func() { s.view.Scrub = fmt.Sprintf("%d %%", 100*read/max(total, 1)); s.update() })
		}
	}
	go func() {
		defer close(done)
		begun, n := time.Now(), s.cfg.Store.Size()
		err := s.cfg.Store.Scrub(ctx, progress)
		if ctx.Err() != nil {
			return
		}
		s.log.Info().Err(err).Dur("took", time.Since(begun)).Uint64("entries", n).Msg("the whole log was read")
		s.loop.Post(func() { s.scrubbed(n, err) })
	}()
	return func() { stop(); <-done }
}

func (s *Station) scrubbed(n uint64, err error) {
	if err != nil {
		s.view.Scrub = "damaged"
		s.halt(fault.Halted(recovery.LogDamaged, err))
		return
	}
	s.view.Scrub = fmt.Sprintf("whole, %d entries", n)
	s.update()
}
