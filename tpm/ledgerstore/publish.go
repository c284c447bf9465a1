package ledgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// Publish brings dir up to date as a C2SP tlog-tiles log of the first size
// entries with this checkpoint note, plus one file of our own:
//
//	checkpoint              the note, written last
//	tile/<L>/<N>[.p/<W>]    hashes, tile height 8
//	tile/entries/<N>[.p/<W>] entries
//	pending                 leaves from size on, encoded like an entry bundle
//
// Whenever it is interrupted, dir holds the log of the old checkpoint or of
// the new one, whole, and pending never begins beyond the checkpoint: until
// the new checkpoint is durable, pending goes on from the old one. Readers read
// pending before the checkpoint and skip what the checkpoint covers. Superseded partial tiles are removed, but for those
// of the previous checkpoint.
//
// Publish checks that the note's body has the size and root of the store; its
// signatures are the caller's to check.
func Publish(dir string, s *Store, checkpoint []byte, size uint64) error {
	return publish(osDisk{}, dir, s, checkpoint, size)
}

func publish(d disk, dir string, s *Store, checkpoint []byte, size uint64) error {
	if err := checkOwn(s, checkpoint, size); err != nil {
		return err
	}
	old := publishedSize(dir)
	if old > size {
		return fmt.Errorf("%s has a log of %d entries already, not going back to %d", dir, old, size)
	}
	p := &publisher{disk: d, dir: dir, store: s, dirs: map[string]bool{}}
	if err := p.mkdir(dir); err != nil {
		return err
	}
	if old > 0 && old < size {
		if err := p.pending(old); err != nil {
			return err
		}
	}
	if err := p.tiles(old, size); err != nil {
		return err
	}
	if err := p.flush(); err != nil { // everything the checkpoint speaks of is durable
		return err
	}
	if err := p.put("checkpoint", checkpoint); err != nil {
		return err
	}
	if err := p.flush(); err != nil { // a pending file without its checkpoint would look like a gap
		return err
	}
	if err := p.pending(size); err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	return p.clean(old, size)
}

// checkOwn refuses a checkpoint that is not of this store.
func checkOwn(s *Store, checkpoint []byte, size uint64) error {
	_, n, root, err := parseNoteBody(checkpoint)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	have, err := s.Root(size)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if n != size || root != have || size == 0 {
		return fmt.Errorf("publish: the checkpoint of size %d is not that of this log at size %d", n, size)
	}
	return nil
}

type publisher struct {
	disk  disk
	dir   string
	store *Store
	dirs  map[string]bool // made or changed since the last flush
}

// put writes a file atomically unless it has this content already. Its name is
// durable after the next flush.
func (p *publisher) put(name string, data []byte) error {
	path := filepath.Join(p.dir, name)
	if have, err := readBounded(path, int64(len(data))); err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err := p.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := writeTemp(p.disk, path, data, 0o644); err != nil {
		return err
	}
	if err := p.disk.Rename(tempName(path), path); err != nil {
		return errors.Join(diskErr("write", path, err), ignoreMissing(p.disk.Remove(tempName(path))))
	}
	p.dirs[filepath.Dir(path)] = true
	return nil
}

// mkdir makes a directory and remembers its parents, whose entries are new.
func (p *publisher) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := p.disk.MkdirAll(dir); err != nil {
		return diskErr("create", dir, err)
	}
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		p.dirs[up] = true
		if len(up) <= len(p.dir) {
			return nil
		}
	}
}

func (p *publisher) flush() error {
	for dir := range p.dirs {
		if err := p.disk.SyncDir(dir); err != nil {
			return diskErr("sync", dir, err)
		}
	}
	clear(p.dirs)
	return nil
}

func (p *publisher) pending(from uint64) error {
	b, err := p.entries(from, p.store.Size())
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
	for i := from; i < to; i++ {
		e, err := p.store.Entry(i)
		if err != nil {
			return nil, err
		}
		b = AppendBundle(b, e)
	}
	return b, nil
}

// tiles writes what changes between the two sizes.
func (p *publisher) tiles(old, size uint64) error {
	err := p.changed(old, size, func(n uint64, w int) error {
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
		err := p.changed(old>>shift, size>>shift, func(n uint64, w int) error {
			b, err := p.hashes(shift, n*tileWidth, w)
			if err != nil {
				return err
			}
			return p.put(tilePath(strconv.Itoa(level), n, w), b)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// changed calls f for every tile of a level with size hashes that a tree with
// old of them did not have.
func (p *publisher) changed(old, size uint64, f func(n uint64, w int) error) error {
	for n := old / tileWidth; n*tileWidth < size; n++ {
		if err := f(n, int(min(size-n*tileWidth, tileWidth))); err != nil {
			return err
		}
	}
	return nil
}

// hashes reads w subtree roots of one tree level, from the n-th on.
func (p *publisher) hashes(level int, n uint64, w int) ([]byte, error) {
	indexes := make([]int64, w)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(level, int64(n)+int64(i))
	}
	p.store.mu.RLock()
	defer p.store.mu.RUnlock()
	hashes, err := p.store.readHashes(indexes)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, w*tlog.HashSize)
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b, nil
}

// clean removes partial tiles that neither the new nor the previous
// checkpoint needs; where a full tile has come, all of them (C2SP tlog-tiles,
// "Partial tiles").
func (p *publisher) clean(old, size uint64) error {
	levels := []string{"entries"}
	shifts := []int{0}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		levels, shifts = append(levels, strconv.Itoa(level)), append(shifts, tileHeight*level)
	}
	for i, level := range levels {
		was, is := old>>shifts[i], size>>shifts[i]
		err := p.changed(was, is, func(n uint64, w int) error {
			keep := []int{w}
			if w < tileWidth && n == was/tileWidth {
				keep = append(keep, int(was%tileWidth))
			}
			return p.prune(filepath.Join(p.dir, tilePath(level, n, tileWidth))+".p", keep)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) prune(dir string, keep []int) error {
	left := 0
	have, err := widths(dir)
	if err != nil {
		return err
	}
	for _, w := range have {
		if slices.Contains(keep, w) {
			left++
			continue
		}
		path := filepath.Join(dir, strconv.Itoa(w))
		if err := p.disk.Remove(path); err != nil {
			return diskErr("remove", path, err)
		}
	}
	if left > 0 {
		return nil
	}
	err = p.disk.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return diskErr("remove", dir, err)
}
