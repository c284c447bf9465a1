package machine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
	"touchmark/appliance/update"
	"touchmark/tpm/ledger"
)

// BootedSlot is the number of the partition that was booted: the one that is given, or, for
// 0, the one that the boot loader says.
func BootedSlot(given int) (int, error) {
	if given != 0 {
		return given, nil
	}
	cell, _ := readBounded("/proc/device-tree/chosen/bootloader/partition", 16) // what is not there, Slot names
	return boot.Slot(cell)
}

// Measuring is what was booted, being hashed while the rest of the machine comes up: a boot
// entry is not written before it is known.
type Measuring struct {
	done     chan struct{} // closed when the next is known
	measured ledger.Measured
}

// measureLimit is when what was booted counts as not known: a card that can be read no
// more must not keep a board from saying so.
const measureLimit = 2 * time.Minute

// StartMeasuring begins to Measure. What goes wrong is said to log.
func StartMeasuring(slots string, slot int, root string, log func(string)) *Measuring {
	m := &Measuring{done: make(chan struct{})}
	go func() {
		defer close(m.done)
		giveWay()
		var err error
		if m.measured, err = Measure(slots, slot, root); err != nil {
			log("measuring: " + err.Error()) // the boot entry says that it is not known
		}
	}()
	return m
}

// giveWay has the calling goroutine, which must end soon, use a processor when nobody else wants it: hashing takes about as
// long as everything else of a start, whose processes do not wait for it until the very last. Its thread ends with it.
func giveWay() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19) // of this thread (setpriority(2)); where it fails, a start takes a little longer
}

// Tell is where a process reads the measurement, in the form of ledger.Measured, when it is known; nothing,
// if it is not within measureLimit.
func (m *Measuring) Tell() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer func() { _ = w.Close() }()
		select {
		case <-m.done:
			_, _ = w.WriteString(m.measured.String()) // a process that has ended is told nothing
		case <-time.After(measureLimit):
		}
	}()
	return r, nil
}

// Measure hashes what was booted, for the boot entry: the boot partition's image,
// the command line, the programs. What cannot be read stays zero; the error says why.
// It is a report of the machine about itself.
func Measure(slots string, slot int, root string) (m ledger.Measured, err error) {
	var list []boot.Program
	for _, name := range boot.Files {
		h, err := hashFile(filepath.Join(root, name))
		if err != nil {
			return m, err
		}
		list = append(list, boot.Program{Path: name, Hash: h})
	}
	m.Programs = boot.Programs(list)
	line, err := readBounded(filepath.Join(root, "proc/cmdline"), 1<<16)
	if err != nil {
		return m, err
	}
	m.CommandLine = boot.CommandLine(string(line))
	if slot == 0 {
		return m, nil
	}
	m.Image, err = hashSlot(fmt.Sprintf("%s%d", slots, slot))
	return m, err
}

// hashSlot hashes the boot image in a partition, which is not mounted.
func hashSlot(device string) (h [32]byte, err error) {
	f, err := openWindow(device)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		h, err = update.BootImage(f, size)
	}
	if err != nil {
		err = fmt.Errorf("the boot partition %s: %w", device, err)
	}
	return h, err
}

// hashFile hashes a file of the root, which is in memory and never changes: it is looked at where it is, because
// copying it took the kernel longer than hashing.
func hashFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return sha256.Sum256(nil), err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return sum, fmt.Errorf("%s: %w", path, err)
	}
	return sha256.Sum256(b), unix.Munmap(b)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has over %d bytes", path, limit)
	}
	return b, err
}
