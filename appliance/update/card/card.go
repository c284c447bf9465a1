// Package card is the boot medium of a board as an update sees it: it reads and
// replaces autoboot.txt, writes an image into a slot and reads it back. What is
// written when, package update says.
//
// The card is a block device or a file with the whole card in it. Nothing on it
// is mounted: the sector of autoboot.txt is found by reading the FAT of partition
// 1, and is overwritten in place, so no table and no directory changes. Only that
// sector and the slot that is not started are ever written.
//
// Assumption: a card writes a sector of 512 bytes whole or not at all. Where one
// does not, the loader still reads one slot or the other, and the board says that
// the file is damaged.
package card

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"touchmark/appliance/update"
	"touchmark/appliance/update/fat"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore/durable"
)

const (
	autobootFile = "autoboot.txt"

	// chunk is written or read at once: large enough for a card's erase blocks,
	// small beside the board's memory.
	chunk = 1 << 20
)

// Card is an open card. It is for one goroutine at a time.
type Card struct {
	file     durable.File
	layout   update.Layout
	autoboot int64 // where the sector of autoboot.txt is
	state    update.State
}

// Open looks at a card. An error says that it is none of ours, or that its
// autoboot.txt is damaged (update.ErrDamaged).
func Open(disk durable.Disk, path string) (*Card, error) {
	f, err := disk.Open(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	c := &Card{file: f}
	if err := c.look(); err != nil {
		return nil, errors.Join(fmt.Errorf("card %s: %w", path, err), f.Close())
	}
	return c, nil
}

func (c *Card) look() (err error) {
	if c.layout, err = update.ReadLayout(c.file); err != nil {
		return err
	}
	boot := c.layout.Boot
	fs, err := fat.Open(section{c.file, boot}, boot.Size)
	if err != nil {
		return err
	}
	f, err := fs.Find(autobootFile)
	if err != nil {
		return err
	}
	if f.Size != update.SectorSize {
		return fmt.Errorf("%w: it has %d bytes, not %d", update.ErrDamaged, f.Size, update.SectorSize)
	}
	c.autoboot = boot.Offset + f.Offset()
	c.state, err = c.read()
	return err
}

// section is a part of the card.
type section struct {
	file   durable.File
	extent update.Extent
}

func (s section) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > s.extent.Size {
		return 0, io.ErrUnexpectedEOF
	}
	return s.file.ReadAt(b, s.extent.Offset+at)
}

// Close gives the card up.
func (c *Card) Close() error { return c.file.Close() }

// State is what autoboot.txt says.
func (c *Card) State() update.State { return c.state }

// Room is how many bytes a slot has.
func (c *Card) Room() int64 { return min(c.layout.A.Size, c.layout.B.Size) }

// AtStart is the first thing that a start does, PID 1 or whoever comes first; to
// repeat it changes nothing. See update.State.AtStart.
func (c *Card) AtStart(serial uint64, start update.Start) (update.Event, error) {
	next, event := c.state.AtStart(serial, start)
	if next == c.state {
		return event, nil
	}
	return event, c.Set(next)
}

// Set writes autoboot.txt, one sector, and reads it back. On return it is durable;
// after an error it is the old text or the new one.
func (c *Card) Set(s update.State) error {
	text := s.Marshal()
	_, err := c.file.WriteAt(text, c.autoboot)
	if err == nil {
		err = c.file.Sync()
	}
	if err != nil {
		err = fmt.Errorf("writing autoboot.txt: %w", err)
	}
	c.forget(update.Extent{Offset: c.autoboot, Size: update.SectorSize})
	is, readErr := c.read()
	if readErr == nil {
		c.state = is
	}
	if err == nil && readErr == nil && is != s {
		err = errors.New("autoboot.txt is not what was written: the card is failing")
	}
	return errors.Join(err, readErr)
}

func (c *Card) read() (update.State, error) {
	b := make([]byte, update.SectorSize)
	if _, err := c.file.ReadAt(b, c.autoboot); err != nil {
		return update.State{}, fmt.Errorf("reading autoboot.txt: %w", err)
	}
	return update.Parse(b)
}

// spare is the slot that may be written: none while an update is under way.
func (c *Card) spare() (update.Extent, error) {
	if c.state.Phase != update.Settled {
		return update.Extent{}, errors.New("an update is under way: neither slot may be written")
	}
	return c.layout.Slot(c.state.Boot.Other()), nil
}

// Stage writes an image into the slot that is not started, and reads it back.
// progress is told how many bytes are done, of twice the image's size. Whatever
// happens, the slot that is started stays as it is.
func (c *Card) Stage(ctx context.Context, im *order.Image, source io.Reader, progress func(done int64)) error {
	slot, err := c.spare()
	if err != nil {
		return err
	}
	if int64(im.Size) > slot.Size {
		return fmt.Errorf("the image has %d bytes, the slot %d", im.Size, slot.Size)
	}
	buf := make([]byte, chunk)
	for at := int64(0); at < int64(im.Size); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(chunk, int64(im.Size)-at)
		if _, err := io.ReadFull(source, buf[:n]); err != nil {
			return fmt.Errorf("reading the image: %w", err)
		}
		if _, err := c.file.WriteAt(buf[:n], slot.Offset+at); err != nil {
			return fmt.Errorf("writing the slot: %w", err)
		}
		at += n
		progress(at)
	}
	if err := c.file.Sync(); err != nil {
		return fmt.Errorf("writing the slot: %w", err)
	}
	return c.holds(ctx, im, slot, func(done int64) { progress(int64(im.Size) + done) })
}

// Holds reads the slot that is not started, and says in what it is not this image.
func (c *Card) Holds(ctx context.Context, im *order.Image) error {
	slot, err := c.spare()
	if err != nil {
		return err
	}
	return c.holds(ctx, im, slot, func(int64) {})
}

func (c *Card) holds(ctx context.Context, im *order.Image, slot update.Extent, progress func(int64)) error {
	if int64(im.Size) > slot.Size {
		return fmt.Errorf("the image has %d bytes, the slot %d", im.Size, slot.Size)
	}
	slot.Size = int64(im.Size)
	c.forget(slot)
	h := sha256.New()
	buf := make([]byte, chunk)
	for at := int64(0); at < slot.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(chunk, slot.Size-at)
		if _, err := c.file.ReadAt(buf[:n], slot.Offset+at); err != nil {
			return fmt.Errorf("reading the slot: %w", err)
		}
		h.Write(buf[:n])
		at += n
		progress(at)
	}
	if !bytes.Equal(h.Sum(nil), im.Slot[:]) {
		return fmt.Errorf("the slot holds %x, the order names %x: the image is another one, or was damaged on the way", h.Sum(nil), im.Slot)
	}
	return update.Check(section{c.file, slot}, im)
}

// forget has the kernel read from the card again what it may still have in memory,
// because it was just written. Where it cannot, what is read back is only what the
// kernel was given.
func (c *Card) forget(e update.Extent) {
	if f, ok := c.file.(interface{ Fd() uintptr }); ok {
		_ = unix.Fadvise(int(f.Fd()), e.Offset, e.Size, unix.FADV_DONTNEED)
	}
}
