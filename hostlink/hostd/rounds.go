package hostd

import (
	"context"

	"touchmark/hostlink/hostd/api"
)

// serveRound passes a request on to whoever drives the rounds. A client that
// goes away does not wait any longer.
func (d *Daemon) serveRound(ctx context.Context, lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	if d.o.Rounds == nil {
		_ = say(fail(api.Usage, "touchmark-hostd has no [[watch]] rules: see docs/rounds.md"))
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
