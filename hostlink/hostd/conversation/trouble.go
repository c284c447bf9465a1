package conversation

import (
	"errors"

	"touchmark/hostlink/hostd/mirror"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
)

// Broken is an error on this host that keeps it from working, such as a full
// disk: what waits is withdrawn, because the mirror could not take its intent.
func (b *Board) Broken(err error) {
	b.o.Log.Error().Err(err).Msg("mirror")
	b.o.Hooks.Broken(err)
	if b.conv != nil {
		b.conv.ready, b.conv.problem = false, err.Error()
	}
}

// problem sorts an error from the mirror: a contradiction that the appliance
// signed is an alarm, a failing disk ends what waits, and for what only came
// over the link the appliance is asked again.
func (b *Board) problem(err error) {
	var ev *mirror.Evidence
	var disk *durable.DiskError
	var corrupt *ledgerstore.CorruptError
	switch {
	case errors.As(err, &disk), errors.As(err, &corrupt):
		b.Broken(err)
	case errors.As(err, &ev) && !ev.Hearsay:
		b.conv.ready, b.conv.problem = false, ev.Text
		b.alarm(ev)
	case errors.As(err, &ev):
		b.suspect(ev)
	default:
		b.o.Log.Error().Err(err).Msg("the appliance's log does not verify")
		b.distrust(err.Error())
	}
}

// alarm records what contradicts the log and stops all signing, until a person
// removes the record.
func (b *Board) alarm(ev *mirror.Evidence) {
	b.o.Log.Error().Str("kind", ev.Kind).Msg(ev.Text)
	if b.evidence == "" {
		b.evidence = ev.Text
	}
	if err := ev.Save(b.o.State, b.o.Loop.Now()); err != nil {
		b.o.Log.Error().Err(err).Msg("evidence not saved")
	}
	b.o.Hooks.Alarmed()
}

// suspect notes what contradicts the log and nobody signed. Nothing is
// submitted until the appliance has proven itself again.
func (b *Board) suspect(ev *mirror.Evidence) {
	b.o.Log.Error().Str("kind", ev.Kind).Msg(ev.Text)
	if err := ev.Save(b.o.State, b.o.Loop.Now()); err != nil {
		b.o.Log.Error().Err(err).Msg("hearsay not saved")
	}
	if err := b.o.Mirror.Drop(); err != nil {
		b.Broken(err)
		return
	}
	b.conv.suspect = true
	b.distrust(ev.Text)
	b.o.Hooks.Suspected(ev.Text)
}

// distrust stops submitting until another hello has cleared things up.
func (b *Board) distrust(why string) {
	c := b.conv
	c.problem, c.welcome = why, nil
	if c.ready {
		c.ready = false
		b.o.Loop.After(b.o.Loop.Waits.HelloRetry, func() { b.hello(c) })
	}
}

// Reread drops the entries that no checkpoint covers and asks for them again:
// somebody on the cable may have made them.
func (b *Board) Reread() {
	c := b.conv
	if c == nil || c.reread || b.o.Mirror.Size() == b.o.Mirror.Committed() {
		return
	}
	c.reread = true
	b.o.Loop.After(b.o.Loop.Waits.BusyRetry, func() { c.reread = false })
	size := b.o.Mirror.Size()
	if err := b.o.Mirror.Drop(); err != nil {
		b.Broken(err)
		return
	}
	c.total, c.fetching = max(c.total, size), 0
	b.fetch()
}
