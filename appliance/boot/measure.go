package boot

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The files of the image's root, which has no others: their paths in it.
const (
	Appliance = "bin/touchmark-appliance"
	Link      = "bin/touchmark-link"
	Init      = "init"
)

// Files are all of them, in the order in which they are measured.
var Files = []string{Appliance, Link, Init}

// Program is a file of the image and its hash.
type Program struct {
	Path string // without a leading slash
	Hash [32]byte
}

// Programs is the measurement of the board's programs: SHA-256 of what
// sha256sum writes about them, in the order of their paths (docs/spec/ledger.md §1.2).
func Programs(list []Program) [32]byte {
	list = slices.SortedFunc(slices.Values(list), func(a, b Program) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	for _, p := range list {
		fmt.Fprintf(h, "%x  %s\n", p.Hash, p.Path)
	}
	return [32]byte(h.Sum(nil))
}

// CommandLine is the measurement of the kernel's command line, as /proc/cmdline
// has it: without the line's end.
func CommandLine(text string) [32]byte { return sha256.Sum256([]byte(strings.TrimSuffix(text, "\n"))) }

// Slot reads the number of the partition that the boot loader booted from
// (/proc/device-tree/chosen/bootloader/partition: one cell, big-endian).
func Slot(cell []byte) (int, error) {
	if len(cell) != 4 {
		return 0, errors.New("the boot loader does not say which partition it booted from")
	}
	n := binary.BigEndian.Uint32(cell)
	if n < 1 || n > 15 {
		return 0, fmt.Errorf("the boot loader says that it booted from partition %d", n)
	}
	return int(n), nil
}
