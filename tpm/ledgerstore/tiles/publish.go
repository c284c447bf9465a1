package tiles

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strconv"

	"touchmark/tpm/ledgerstore/durable"
)

// Log is what can be published: a *ledgerstore.Store.
type Log interface {
	Size() uint64
	// Root is the Merkle tree hash of the first n entries.
	Root(n uint64) ([32]byte, error)
	// Entries yields entries from..to-1.
	Entries(from, to uint64) iter.Seq2[[]byte, error]
	// Hashes are the roots of w complete subtrees of 2^level leaves, from the
	// n-th on.
	Hashes(level int, n uint64, w int) ([][32]byte, error)
}

// Publish brings dir up to date as a C2SP tlog-tiles log of the first size
// entries with this checkpoint note, plus the entries from size on as pending.
// It reads and writes what changed since the checkpoint in dir only: of a log
// of n entries with m new ones, O(m + log n) tiles.
//
// Whenever it is interrupted, dir holds the log of the old checkpoint or of
// the new one, whole, and pending never begins beyond the checkpoint: until
// the new checkpoint is durable, pending goes on from the old one. Readers
// read pending before the checkpoint and skip what the checkpoint covers.
// Superseded partial tiles are removed, but for those of the previous
// checkpoint.
//
// Publish checks that the note's body has the size and root of the log; its
// signatures are the caller's to check.
func Publish(dir string, log Log, checkpoint []byte, size uint64) error {
	return PublishOn(durable.OS, dir, log, checkpoint, size)
}

// PublishOn is Publish on another disk.
func PublishOn(d durable.Disk, dir string, log Log, checkpoint []byte, size uint64) error {
	if err := checkOwn(log, checkpoint, size); err != nil {
		return err
	}
	p := &publisher{disk: d, dir: dir, log: log, made: map[string]bool{}, loose: map[string]bool{}}
	old, err := p.publishedSize()
	if err != nil {
		return err
	}
	if old > size {
		return fmt.Errorf("%s has a log of %d entries already, not going back to %d", dir, old, size)
	}
	for _, step := range []func() error{
		func() error { return p.mkdir(dir) },
		func() error { return p.bridge(old, size) },
		func() error { return p.tiles(old, size) },
		p.flush, // everything the checkpoint speaks of is durable
		func() error { return p.put("checkpoint", checkpoint) },
		p.flush, // a pending file without its checkpoint would look like a gap
		func() error { return p.pending(size) },
		p.flush,
		func() error { return p.clean(old, size) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkOwn refuses a checkpoint that is not of this log.
func checkOwn(log Log, checkpoint []byte, size uint64) error {
	_, n, root, err := parseNoteBody(checkpoint)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	have, err := log.Root(size)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if n != size || root != have || size == 0 {
		return fmt.Errorf("publish: the checkpoint of size %d is not that of this log at size %d", n, size)
	}
	return nil
}

type publisher struct {
	disk  durable.Disk
	dir   string
	log   Log
	made  map[string]bool // directories that are there
	loose map[string]bool // directories with names that may not be durable yet
}

// publishedSize reads the size in the checkpoint file without verifying it; 0
// when there is none. One that cannot be understood is no reason to stop: it
// is about to be replaced, and all tiles are gone through.
func (p *publisher) publishedSize() (uint64, error) {
	b, err := durable.ReadFile(p.disk, filepath.Join(p.dir, "checkpoint"), maxCheckpoint)
	var long *durable.TooLongError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &long) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if _, size, _, err := parseNoteBody(b); err == nil {
		return size, nil
	}
	return 0, nil
}

// put writes a file atomically unless it has this content already. Its name is
// durable after the next flush, also that of a file which an earlier try left
// behind.
func (p *publisher) put(name string, data []byte) error {
	path := filepath.Join(p.dir, name)
	p.loosen(filepath.Dir(path))
	if have, err := durable.ReadFile(p.disk, path, int64(len(data))); err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err := p.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := durable.WriteTemp(p.disk, path, data, 0o644); err != nil {
		return err
	}
	return durable.RenameTemp(p.disk, path)
}

// loosen notes a directory and those above it for the next flush.
func (p *publisher) loosen(dir string) {
	for ; len(dir) >= len(p.dir) && !p.loose[dir]; dir = filepath.Dir(dir) {
		p.loose[dir] = true
	}
}

func (p *publisher) mkdir(dir string) error {
	if p.made[dir] {
		return nil
	}
	p.made[dir] = true
	return durable.MkdirAllOn(p.disk, dir, 0o755)
}

func (p *publisher) flush() error {
	for dir := range p.loose {
		if err := p.disk.SyncDir(dir); err != nil {
			return durable.Error("sync", dir, err)
		}
	}
	clear(p.loose)
	return nil
}

// bridge makes pending reach from the old checkpoint beyond the new one.
func (p *publisher) bridge(old, size uint64) error {
	if old == 0 || old == size {
		return nil
	}
	return p.pending(old)
}

func (p *publisher) pending(from uint64) error {
	b, err := p.entries(from, p.log.Size())
	if err != nil {
		return err
	}
	if len(b) > maxPending {
		return fmt.Errorf("publish: %d bytes of pending entries, at most %d", len(b), maxPending)
	}
	return p.put("pending", b)
}

func (p *publisher) entries(from, to uint64) ([]byte, error) {
	var b []byte
	for e, err := range p.log.Entries(from, to) {
		if err != nil {
			return nil, err
		}
		b = AppendBundle(b, e)
	}
	return b, nil
}

// tiles writes what changes between the two sizes.
func (p *publisher) tiles(old, size uint64) error {
	err := changed(old, size, func(n uint64, w int) error {
		b, err := p.entries(n*tileWidth, n*tileWidth+uint64(w))
		if err != nil {
			return err
		}
		return p.put(tilePath("entries", n, w), b)
	})
	if err != nil {
		return err
	}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		shift := tileHeight * level
		err := changed(old>>shift, size>>shift, func(n uint64, w int) error {
			hashes, err := p.log.Hashes(shift, n*tileWidth, w)
			if err != nil {
				return err
			}
			return p.put(tilePath(strconv.Itoa(level), n, w), join(hashes))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func join(hashes [][32]byte) []byte {
	b := make([]byte, 0, len(hashes)*32)
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

// changed calls f for every tile of a level with size hashes that a tree with
// old of them did not have, with the width it has now.
func changed(old, size uint64, f func(n uint64, w int) error) error {
	for n := old / tileWidth; n*tileWidth < size; n++ {
		if err := f(n, int(min(size-n*tileWidth, tileWidth))); err != nil {
			return err
		}
	}
	return nil
}

// clean removes partial tiles that neither the new nor the previous
// checkpoint needs; where a full tile has come, all of them (C2SP tlog-tiles,
// "Partial tiles").
func (p *publisher) clean(old, size uint64) error {
	if err := p.cleanLevel("entries", old, size); err != nil {
		return err
	}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		shift := tileHeight * level
		if err := p.cleanLevel(strconv.Itoa(level), old>>shift, size>>shift); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) cleanLevel(level string, was, is uint64) error {
	return changed(was, is, func(n uint64, w int) error {
		keep := []int{w}
		if w < tileWidth && n == was/tileWidth {
			keep = append(keep, int(was%tileWidth))
		}
		return p.prune(filepath.Join(p.dir, tilePath(level, n, tileWidth))+".p", keep)
	})
}

func (p *publisher) prune(dir string, keep []int) error {
	have, err := widths(p.disk, dir)
	if err != nil || have == nil {
		return err
	}
	left := 0
	for _, w := range have {
		if slices.Contains(keep, w) {
			left++
			continue
		}
		path := filepath.Join(dir, strconv.Itoa(w))
		if err := p.disk.Remove(path); err != nil {
			return durable.Error("remove", path, err)
		}
	}
	if left > 0 {
		return nil
	}
	return durable.Error("remove", dir, durable.IgnoreMissing(p.disk.Remove(dir)))
}
