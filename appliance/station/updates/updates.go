// Package updates keeps a board's image up to date: it writes what administrators
// ordered to the slot that is not in use, has the next start try it, and ends the
// trial of the image that runs (docs/image/update.md). What the states of a card
// mean is decided in package update.
//
// A Keeper is owned by the station's loop; a worker of its own uses the card.
package updates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/update"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger/order"
)

// Card is what a keeper needs of the board's boot medium; appliance/update/card
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

// Config is what a board needs to replace its own image. Board.Floor is read from the TPM.
type Config struct {
	Card  Card  // nil if it cannot be used
	Fault error // why
	Floor Floor
	Board update.Board
	Event update.Event // what this start is, as Card.AtStart said
}

// Told is who hears, in the loop, what became of the card.
type Told struct {
	Changed func()
	Failed  func(what string, err error)
}

// Keeper replaces a board's image. A nil one does not, and takes no image.
type Keeper struct {
	cfg     Config
	told    Told
	ctx     context.Context // of the work
	loop    loop.Loop
	work    loop.Worker  // who uses the card
	state   update.State // what the card says, as the loop knows it
	keeping bool         // the trial is being ended, or this start has been found good
	failed  error        // why the card is not used any more; the next start looks again
}

// Start begins to serve the card, until ctx ends. Without a config it answers nil.
func Start(ctx context.Context, cfg *Config, l loop.Loop, told Told) *Keeper {
	if cfg == nil {
		return nil
	}
	k := &Keeper{cfg: *cfg, told: told, ctx: ctx, loop: l, failed: cfg.Fault}
	if k.cfg.Card != nil {
		k.state = k.cfg.Card.State()
	}
	k.work.Start(ctx, l)
	return k
}

// Wait waits for the work to have ended.
func (k *Keeper) Wait() {
	if k != nil {
		k.work.Wait()
	}
}

// Check answers, as a *fault.HaltError, why a board halts over its image: it is older
// than the TPM allows. Enrolled reports whether the TPM is one of a log.
func (k *Keeper) Check(enrolled func() bool) error {
	if k == nil {
		return nil
	}
	floor, err := k.cfg.Floor.Floor()
	var foreign *device.ForeignFloorError
	switch {
	case errors.Is(err, device.ErrNoFloor):
		if !enrolled() {
			return nil // it is not the TPM of this log: what is read next says so
		}
		return fault.Halted(recovery.NotEnrolled, err)
	case errors.As(err, &foreign):
		return fault.Halted(recovery.ImageOld, err)
	case err != nil:
		return fault.Failed("reading the image counter", err)
	}
	k.cfg.Board.Floor = floor
	if b := k.cfg.Board; b.Serial < floor {
		return fault.Halted(recovery.ImageOld, fmt.Errorf("this image has serial %d, the TPM demands %d at least: somebody started an old one, write the newest to the card", b.Serial, floor))
	}
	return nil
}

// Fits says why this board does not take an image.
func (k *Keeper) Fits(im *order.Image) error {
	if k == nil {
		return intake.Refuse(message.CodeBadMessage, "this board is not started from a card that it may write: its image is not replaced by order")
	}
	if k.failed != nil {
		return intake.Refuse(message.CodeBadMessage, "the card cannot be written: %v", k.failed)
	}
	if err := update.Admit(im, k.cfg.Board, k.state, k.cfg.Card.Room()); err != nil {
		return intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	return nil
}

// Stage writes an image to the slot that is not in use, reads it back and closes
// the source. In the loop it says how many tenths are done, and at last how it
// ended. What it answers ends it before.
func (k *Keeper) Stage(im *order.Image, source io.ReadCloser, progress func(tenths int64), done func(error)) (cancel func()) {
	ctx, cancel := context.WithCancel(k.ctx)
	told := int64(0)
	k.work.Do(func() func() {
		defer cancel()
		err := k.cfg.Card.Stage(ctx, im, source, func(n int64) {
			if part := n * 10 / (2 * int64(im.Size)); part > told {
				told = part
				k.loop.Post(func() { progress(part) })
			}
		})
		err = errors.Join(err, source.Close())
		return func() { done(err) }
	})
	return cancel
}

// Follow obeys the newest image order that is in force, by its hash: the next start
// tries its image. It is to be called when an order took effect, and at each start,
// because the power may go between the log and the card.
func (k *Keeper) Follow(hash [32]byte, im *order.Image) {
	if k == nil || k.failed != nil || !k.state.Owed(hash, im, k.cfg.Board.Serial) {
		return
	}
	k.work.Do(func() func() {
		err := k.cfg.Card.Holds(k.ctx, im)
		if err == nil {
			err = k.write(k.cfg.Card.State().SwitchTo(hash, im, k.cfg.Board.Start))
		}
		return k.written(err, update.Waiting, "The image that was ordered could not be switched to")
	})
}

// Keep ends a trial once this start lacks nothing any more to be a good one. From
// then on no older image is started.
func (k *Keeper) Keep(lacks []string) {
	if k == nil || k.keeping || k.failed != nil || len(lacks) > 0 {
		return
	}
	k.keeping = true
	event := k.cfg.Event
	if event == update.OnTrial {
		event = update.Nothing
	}
	start, to := k.cfg.Board.Start, k.cfg.Board.Raised()
	k.work.Do(func() func() {
		var err error
		if k.cfg.Card.State().Phase == update.Trying {
			err = k.write(k.cfg.Card.State().Keep(start))
		}
		if err == nil { // after the card: an image below the floor could not be fallen back to
			err = k.cfg.Floor.RaiseFloor(to)
		}
		return k.written(err, event, "This image could not be kept")
	})
}

// write replaces autoboot.txt, on the worker.
func (k *Keeper) write(next update.State, err error) error {
	if err != nil {
		return err
	}
	return k.cfg.Card.Set(next)
}

// written tells the loop what became of the card.
func (k *Keeper) written(err error, event update.Event, failure string) func() {
	state := k.cfg.Card.State()
	return func() {
		k.state = state
		if k.failed = err; err != nil {
			k.told.Failed(failure, err)
			return
		}
		k.cfg.Event = event
		k.told.Changed()
	}
}

// Warning says how far an update came, "" if there is nothing to say; lacks as for Keep.
func (k *Keeper) Warning(lacks []string) string {
	if k == nil {
		return ""
	}
	switch {
	case k.failed != nil:
		return "The image of this board cannot be replaced: " + k.failed.Error() + "."
	case k.cfg.Event == update.OnTrial && len(lacks) == 0:
	case k.cfg.Event == update.OnTrial:
		return fmt.Sprintf("ON TRIAL: version %s is kept once it has %s; a restart before that goes back.", k.cfg.Board.Version, strings.Join(lacks, ", "))
	case k.cfg.Event == update.Waiting:
		return "RESTART the board to try the new image."
	case k.cfg.Event == update.FellBack:
		return fmt.Sprintf("The new image did not come up: this is version %s again.", k.cfg.Board.Version)
	}
	return ""
}
