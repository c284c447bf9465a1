package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/tpm/device"
	"touchmark/tpm/ledgerstore/durable"
)

// Watchdog resets the machine when nobody has fed it for a while.
type Watchdog struct{ f *os.File }

// OpenWatchdog starts it; a machine without one has none to feed. It is never
// closed: only the end of the machine ends it.
func OpenWatchdog(path string) (*Watchdog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return &Watchdog{}, nil
	}
	return &Watchdog{f}, err
}

// Feed keeps it from resetting the machine for its own period, of the BCM2711 some
// 15 seconds.
func (w *Watchdog) Feed() error {
	if w.f == nil {
		return nil
	}
	_, err := w.f.Write([]byte{'.'}) // any byte but V, which would let it be stopped
	return err
}

const (
	seedFile = "seed"
	seedSize = 64
)

// Seed mixes what the last start has left into the kernel's randomness, without
// vouching for it, waits until the kernel has enough, and leaves something new before
// anything uses it, so that no two starts begin with the same.
func Seed(dir, random string) error {
	path := filepath.Join(dir, seedFile)
	old, err := durable.ReadFile(durable.OS, path, seedSize)
	if err == nil {
		err = os.WriteFile(random, old, 0)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fresh := make([]byte, seedSize)
	if _, err := unix.Getrandom(fresh, 0); err != nil {
		return err
	}
	return durable.WriteFile(path, fresh, 0o600)
}

// LockTPM replaces the platform's authorization of the TPM.
func LockTPM() error {
	t, err := device.Open(TPM)
	if err != nil {
		return err
	}
	return errors.Join(t.LockPlatform(), t.Close())
}

// What a kernel has left in memory that kept it over a restart.
const (
	crashDir   = "crash"
	restartDir = "restart"
	maxCrashes = 16
	maxCrash   = 256 << 10

	panicked = "dmesg-" // begins the name of what a kernel wrote as it stopped
)

// LastWords is what a kernel has left.
type LastWords int

// What it was.
const (
	NoWords   LastWords = iota
	Restarted           // the machine was started anew, and the kernel knew of nothing wrong
	Stopped             // the kernel stopped itself (a panic)
)

// KeepWords moves what the kernel kept of its end (pstore) to the data partition, and tells what that was. What a kernel said
// that stopped stays until another one does; a restart for another reason does not write over it.
func KeepWords(pstore, dir string) (LastWords, error) {
	entries, err := os.ReadDir(pstore)
	if err != nil || len(entries) == 0 {
		return NoWords, nil // a kernel without it
	}
	said, to := Restarted, restartDir
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), panicked) }) {
		said, to = Stopped, crashDir
	}
	return said, moveWords(pstore, filepath.Join(dir, to), entries[:min(len(entries), maxCrashes)])
}

// moveWords moves these files of pstore into a directory, in place of what is there.
func moveWords(pstore, to string, entries []os.DirEntry) error {
	if err := errors.Join(os.RemoveAll(to), durable.MkdirAll(to, 0o700)); err != nil {
		return err
	}
	for i, e := range entries {
		from := filepath.Join(pstore, e.Name())
		b, err := readBounded(from, maxCrash)
		if err == nil {
			err = durable.WriteFile(filepath.Join(to, fmt.Sprintf("%02d-%s", i, e.Name())), b, 0o600)
		}
		if err == nil {
			err = os.Remove(from)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// End ends the machine: everything is told to end, what is written is on the disk,
// and then it starts anew or is switched off. A disk that does not take it in time is
// not waited for. It returns only if the kernel refuses.
func End(off bool) error {
	_ = unix.Kill(-1, unix.SIGTERM)
	_, _ = await(wall, endGrace, func() (none struct{}, err error) { // those that do not end are killed
		if haveChildren() {
			err = errRunning
		}
		return none, err
	})
	_ = unix.Kill(-1, unix.SIGKILL)
	Within(endGrace, func() {
		syncData()
		_ = unix.Mount("", DataDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") // it may not be mounted
	})
	Within(endGrace, unix.Sync) // a stick's too
	how := unix.LINUX_REBOOT_CMD_RESTART
	if off {
		how = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	return unix.Reboot(how)
}

var errRunning = errors.New("processes are still running")

// syncData has the data partition take what is written, whatever other disks do.
func syncData() {
	if d, err := os.Open(DataDir); err == nil {
		_ = unix.Syncfs(int(d.Fd()))
		_ = d.Close()
	}
}

// Within does something that may take for ever, and waits for it so long. It tells whether
// it was done.
func Within(limit time.Duration, do func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// haveChildren reaps one process that has ended, and tells whether there is any left: all that was
// ever started is the first process's child in the end, and the kernel's own threads are nobody's.
func haveChildren() bool {
	_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
	return !errors.Is(err, unix.ECHILD)
}

// endGrace is how long processes may take to end, and then each disk: together about what
// the watchdog waits.
const endGrace = 4 * time.Second
