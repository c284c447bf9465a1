package station

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/update"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger/order"
)

// Card is what the station needs of the board's boot medium; appliance/update/card
// implements it. Any goroutine may ask for Room; all else is for one at a time.
type Card interface {
	State() update.State
	Room() int64
	Set(update.State) error
	Stage(ctx context.Context, im *order.Image, source io.Reader, progress func(done int64)) error
	Holds(ctx context.Context, im *order.Image) error
}

// Floor is the TPM's counter of image serials; tpm/device implements it.
type Floor interface {
	Floor() (uint64, error)
	RaiseFloor(to uint64) error
}

// Updates is what a board needs to replace its own image; nil in Config where
// something else does that. Board.Floor is read from the TPM.
type Updates struct {
	Card  Card  // nil if it cannot be used
	Fault error // why
	Floor Floor
	Board update.Board
	Event update.Event // what this start is, as Card.AtStart said
}

// updates keeps a board's image up to date: it follows the administrators' newest
// image order, and ends the trial of the image that runs.
type updates struct {
	Updates
	ctx     context.Context // of the work
	work    loop.Worker     // who uses the card
	state   update.State    // what the card says, as the loop knows it
	keeping bool            // the trial is being ended, or this start has been found good
	failed  error           // why the card is not used any more; the next start looks again
}

// startUpdates begins to serve the card.
func (s *Station) startUpdates(ctx context.Context) {
	if s.cfg.Updates == nil {
		return
	}
	s.updates = &updates{Updates: *s.cfg.Updates, ctx: ctx, failed: s.cfg.Updates.Fault}
	if s.updates.Card != nil {
		s.updates.state = s.updates.Card.State()
	}
	s.updates.work.Start(ctx, s.loop)
}

func (s *Station) waitUpdates() {
	if s.updates != nil {
		s.updates.work.Wait()
	}
}

// checkImage halts a board whose image is older than its TPM allows.
func (s *Station) checkImage() error {
	u := s.updates
	if u == nil {
		return nil
	}
	floor, err := u.Floor.Floor()
	var foreign *device.ForeignFloorError
	switch {
	case errors.Is(err, device.ErrNoFloor):
		if _, headErr := s.cfg.TPM.Head(); headErr != nil {
			return nil // it is not the TPM of this log: what is read next says so
		}
		return chain.Halted(recovery.NotEnrolled, err)
	case errors.As(err, &foreign):
		return chain.Halted(recovery.ImageOld, err)
	case err != nil:
		return chain.Failed("reading the image counter", err)
	}
	u.Board.Floor = floor
	if b := u.Board; b.Serial < floor {
		return chain.Halted(recovery.ImageOld, fmt.Errorf("this image has serial %d, the TPM demands %d at least: somebody started an old one, write the newest to the card", b.Serial, floor))
	}
	return nil
}

// fitsImage says why this board does not take an image.
func (s *Station) fitsImage(im *order.Image) error {
	u := s.updates
	if u == nil {
		return intake.Refuse(message.CodeBadMessage, "this board is not started from a card that it may write: its image is not replaced by order")
	}
	if u.failed != nil {
		return intake.Refuse(message.CodeBadMessage, "the card cannot be written: %v", u.failed)
	}
	if err := update.Admit(im, u.Board, u.state, u.Card.Room()); err != nil {
		return intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	return nil
}

// stage writes the image of an order to the slot that is not in use, before the
// order goes into the log: what cannot be written has no entry. Then it goes on
// with arming.
func (s *Station) stage(d *decree, im *order.Image) {
	u := s.updates
	source, err := s.openSlot(im)
	if err != nil {
		s.dropDecree(message.CodeBadMessage, err.Error())
		return
	}
	d.state = decreeStaging
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(u.ctx)
	s.showDecree("Writing the image to the other slot ...")
	told := int64(0)
	u.work.Do(func() func() {
		defer d.cancel()
		err := u.Card.Stage(ctx, im, source, func(done int64) {
			if part := done * 10 / (2 * int64(im.Size)); part > told {
				told = part
				s.loop.Post(func() { s.staging(d, part) })
			}
		})
		err = errors.Join(err, source.Close())
		return func() { s.staged(d, err) }
	})
}

func (s *Station) staging(d *decree, tenths int64) {
	if s.decree == d && d.state == decreeStaging {
		s.say(fmt.Sprintf("Writing the image to the other slot and reading it back: %d %%.", 10*tenths))
	}
}

func (s *Station) staged(d *decree, err error) {
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

// openSlot opens the file with an image where orders are brought.
func (s *Station) openSlot(im *order.Image) (*os.File, error) {
	if s.cfg.Orders == "" {
		return nil, errors.New("there is no directory that images are brought to")
	}
	name := update.FileName(im)
	fd, err := unix.Open(filepath.Join(s.cfg.Orders, name), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) // a stick may hold anything
	if err != nil {
		return nil, fmt.Errorf("the stick has no %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Size() != int64(im.Size)) {
		err = fmt.Errorf("%s has %d bytes, the order says %d", name, st.Size(), im.Size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// follow obeys the newest image order that is in force: the next start tries its
// image. It is called when an order took effect, and at each start, because the
// power may go between the log and the card.
func (s *Station) follow() {
	u, im, hash := s.updates, s.past.Image, s.past.ImageOrder
	if u == nil || u.failed != nil || s.halted != nil || !u.state.Owed(hash, im, u.Board.Serial) {
		return
	}
	u.work.Do(func() func() {
		err := u.Card.Holds(u.ctx, im)
		if err == nil {
			err = s.write(u.Card.State().SwitchTo(hash, im, u.Board.Start))
		}
		return s.written(err, update.Waiting, "The image that was ordered could not be switched to")
	})
}

// keepTrial ends a trial once this start shows that the image serves: log and TPM
// agree, a token and a host are there. From then on no older image is started.
func (s *Station) keepTrial() {
	u := s.updates
	if u == nil || u.keeping || u.failed != nil || len(s.missing()) > 0 {
		return
	}
	u.keeping = true
	event := u.Event
	if event == update.OnTrial {
		event = update.Nothing
	}
	start, to := u.Board.Start, u.Board.Raised()
	u.work.Do(func() func() {
		var err error
		if u.Card.State().Phase == update.Trying {
			err = s.write(u.Card.State().Keep(start))
		}
		if err == nil { // after the card: an image below the floor could not be fallen back to
			err = u.Floor.RaiseFloor(to)
		}
		return s.written(err, event, "This image could not be kept")
	})
}

// missing is what a start still lacks to be a good one.
func (s *Station) missing() (what []string) {
	if s.halted != nil || !s.confirmed || s.starting {
		what = append(what, "a log in order")
	}
	if s.token.state != tokenReady && s.token.state != tokenPIN {
		what = append(what, "the token")
	}
	if s.link.host == "" {
		what = append(what, "a host")
	}
	return what
}

// write replaces autoboot.txt, on the worker.
func (s *Station) write(next update.State, err error) error {
	if err != nil {
		return err
	}
	return s.updates.Card.Set(next)
}

// written tells the loop what became of the card.
func (s *Station) written(err error, event update.Event, failure string) func() {
	state := s.updates.Card.State()
	return func() {
		u := s.updates
		u.state = state
		if u.failed = err; err != nil {
			s.log.Error().Err(err).Msg(failure)
			s.say(failure + ": " + err.Error() + ". The next start tries again.")
			return
		}
		u.Event = event
		s.update()
	}
}

// imageWarning says how far an update came.
func (s *Station) imageWarning() string {
	u := s.updates
	if u == nil {
		return ""
	}
	switch {
	case u.failed != nil:
		return "The image of this board cannot be replaced: " + u.failed.Error() + "."
	case u.Event == update.OnTrial && len(s.missing()) == 0:
	case u.Event == update.OnTrial:
		return fmt.Sprintf("ON TRIAL: version %s is kept once it has %s; a restart before that goes back.", u.Board.Version, strings.Join(s.missing(), ", "))
	case u.Event == update.Waiting:
		return "RESTART the board to try the new image."
	case u.Event == update.FellBack:
		return fmt.Sprintf("The new image did not come up: this is version %s again.", u.Board.Version)
	}
	return ""
}
