package machine

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
	f, err := os.Open(device)
	if err != nil {
		return h, err
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		h, err = update.BootImage(f, size)
	}
	if err != nil {
		err = fmt.Errorf("the boot partition %s: %w", device, err)
	}
	return h, err
}

func hashFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
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
