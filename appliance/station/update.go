package station

import (
	"context"
	"fmt"

	"touchmark/appliance/station/orderdir"
	"touchmark/appliance/station/token"
	"touchmark/appliance/station/updates"
	"touchmark/appliance/update"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/order"
)

// Updates is what a board needs to replace its own image; nil in Config where
// something else does that.
type Updates = updates.Config

// startUpdates begins to serve the card.
func (s *Station) startUpdates(ctx context.Context) {
	s.updates = updates.Start(ctx, s.cfg.Updates, s.loop, updates.Told{Changed: s.update, Failed: func(what string, err error) {
		s.log.Error().Err(err).Msg(what)
		s.say(what + ": " + err.Error() + ". The next start tries again.")
	}})
}

// enrolled reports whether the TPM is one of a log.
func (s *Station) enrolled() bool {
	_, err := s.cfg.TPM.Head()
	return err == nil
}

// stage writes the image of an order to the slot that is not in use, before the
// order goes into the log: what cannot be written has no entry. Then it goes on
// with arming.
func (s *Station) stage(d *errand, im *order.Image) {
	if s.cfg.Orders == "" {
		s.dropDecree(message.CodeBadMessage, "there is no directory that images are brought to")
		return
	}
	source, err := orderdir.Open(s.cfg.Orders, update.FileName(im), int64(im.Size))
	if err != nil {
		s.dropDecree(message.CodeBadMessage, err.Error())
		return
	}
	d.state = decreeStaging
	s.showDecree("Writing the image to the other slot ...")
	d.cancel = s.updates.Stage(im, source, func(tenths int64) { s.staging(d, tenths) }, func(err error) { s.staged(d, err) })
}

func (s *Station) staging(d *errand, tenths int64) {
	if s.decree == d && d.state == decreeStaging {
		s.say(fmt.Sprintf("Writing the image to the other slot and reading it back: %d %%.", 10*tenths))
	}
}

func (s *Station) staged(d *errand, err error) {
	switch {
	case s.decree != d || d.state != decreeStaging:
		return // denied, or the board started again in between
	case err != nil:
		s.dropDecree(message.CodeBadMessage, "the image could not be written: "+err.Error())
	default:
		d.staged, d.state = true, decreeShown
		s.armDecree(d)
	}
}

// follow obeys the newest image order that is in force. It is called when an order
// took effect, and at each start.
func (s *Station) follow() {
	if s.halted == nil {
		s.updates.Follow(s.past.ImageOrder, s.past.Image)
	}
}

// lacks is what a start still lacks to be a good one, for the trial of its image.
func (s *Station) lacks() (what []string) {
	if s.halted != nil || !s.clock.Confirmed() || s.starting {
		what = append(what, "a log in order")
	}
	if s.token.State() != token.Ready && s.token.State() != token.PIN {
		what = append(what, "the token")
	}
	if s.line.Host() == "" {
		what = append(what, "a host")
	}
	return what
}
