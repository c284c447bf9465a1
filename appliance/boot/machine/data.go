package machine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
	"touchmark/appliance/enrol/progress"
	"touchmark/tpm/ledgerstore/durable"
)

const (
	deviceLimit = 10 * time.Second // until a card has told its partitions
	scarce      = 64 << 20         // bytes: fewer are worth a warning; some hundred signatures fit
)

// Data is the data partition as far as it could be mounted.
type Data struct {
	Mounted  bool
	Writable bool
	Notice   string // for the operator, "" if all is well
}

// MountData mounts the data partition. One that the kernel found contradictions in,
// or that cannot be written, is mounted to be read only: the board then halts, and says
// why. There is no fsck here: it would mend the log to something that nobody signed.
func MountData(device string) Data {
	state, err := diskState(device)
	if err != nil {
		return Data{Notice: fmt.Sprintf("The data partition %s is not there (%v): is the card in its place? A board without its log signs nothing.", device, err)}
	}
	const flags = plain | unix.MS_NOATIME
	switch state {
	case boot.DiskForeign:
		return Data{Notice: fmt.Sprintf("The data partition %s has no ext4 file system. If this card had a log, do not write to it: copy the card. The log comes back from any mirror (docs/image/recovery.md).", device)}
	case boot.DiskClean:
		err = unix.Mount(device, DataDir, "ext4", flags, "errors=remount-ro")
		if err == nil {
			return Data{Mounted: true, Writable: true, Notice: space(DataDir)}
		}
	case boot.DiskErrors:
		err = errors.New("the kernel noted errors in it")
	}
	d := Data{Notice: fmt.Sprintf("The data partition %s cannot be written (%v). Nothing is signed. Copy the card, check the copy with e2fsck on another machine, or let the log come back from a mirror (docs/image/recovery.md).", device, err)}
	for _, options := range []string{"", "noload"} { // with its journal replayed, or without
		if err = unix.Mount(device, DataDir, "ext4", flags|unix.MS_RDONLY, options); err == nil {
			d.Mounted = true
			return d
		}
	}
	d.Notice += fmt.Sprintf(" It cannot be read either (%v).", err)
	return d
}

// diskState waits for the device and reads its superblock.
func diskState(device string) (boot.Disk, error) {
	f, err := await(wall, deviceLimit, func() (*os.File, error) { return os.Open(device) })
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, boot.SuperblockSize)
	if _, err := f.ReadAt(b, boot.SuperblockAt); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return boot.ReadSuperblock(b), nil
}

// space warns of a disk that is nearly full.
func space(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil || s.Bavail*uint64(s.Bsize) >= scarce {
		return ""
	}
	return fmt.Sprintf("The data partition has %d MiB left: when it is full, nothing is signed. Move the log to a larger card (docs/image/recovery.md).", s.Bavail*uint64(s.Bsize)>>20)
}

// MakeBoardDir makes the appliance's directory, the core's.
func MakeBoardDir() error {
	if err := durable.MkdirAll(BoardDir, 0o700); err != nil {
		return err
	}
	return os.Chown(BoardDir, CoreID, CoreID)
}

// Enrolled tells whether the board has a log that no ceremony is still making. What
// cannot be told counts as enrolled: the TPM is then locked sooner.
func Enrolled(dir string) bool {
	if _, err := progress.Read(dir); !errors.Is(err, os.ErrNotExist) {
		return err != nil
	}
	for _, name := range []string{"log", "genesis", "log.key"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// reasonFile says, on the data partition, why the board or its core started anew.
const (
	reasonFile = "reason"
	maxReason  = 4096
)

// KeepReason keeps it for the next start; the disk may be the reason.
func KeepReason(dir, text string) error {
	return durable.WriteFile(filepath.Join(dir, reasonFile), []byte(text[:min(len(text), maxReason)]+"\n"), 0o600)
}

// TakeReason gives what was kept, once.
func TakeReason(dir string) string {
	path := filepath.Join(dir, reasonFile)
	b, err := durable.ReadFile(durable.OS, path, maxReason+1)
	if err != nil {
		return ""
	}
	if err := durable.OS.Remove(path); err != nil {
		return "" // or it would be said at every start
	}
	return printable(strings.TrimSpace(string(b)))
}

// printable keeps text fit for a terminal's line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
}
