// Package bootimg makes and reads boot.img: the one file of a slot that a Raspberry Pi's boot loader has signed, with
// firmware, kernel, device tree, command line and initramfs in it.
//
// It is a FAT16 volume as package fat makes them, so what is read is known to the last bit: [Parse] takes nothing else,
// and whoever is given a file to sign, or to put onto a card, asks it first.
package bootimg

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"touchmark/image/board"
	"touchmark/image/card"
	"touchmark/image/fat"
)

// MaxBytes bounds boot.img: the boot loader has it in memory, next to what is in it.
const MaxBytes = 16 << 20

// label is the volume's name; its number is the card's.
const label = "TM-BOOT"

// ErrFormat says that a file is no boot.img of ours.
var ErrFormat = errors.New("not a boot.img made by touchmark-image")

// Image is what a boot.img says.
type Image struct {
	Date  time.Time  // the one date in it, that of the build
	Board string     // which board it is for, by its command line: rpi4
	Files []fat.File // parts of what was read
}

// Make is the smallest volume of whole MiB that holds the files. What has no place within [MaxBytes] is refused.
func Make(files []fat.File, date time.Time) ([]byte, error) {
	const mib = 1 << 20 / fat.SectorSize
	for sectors := (fat.MinSectors + mib - 1) / mib * mib; sectors <= MaxBytes/fat.SectorSize; sectors += mib {
		b, err := fat.Volume{Label: label, ID: card.Signature, Sectors: sectors, Date: date, Files: files}.Bytes()
		if !errors.Is(err, fat.ErrFull) {
			return b, err
		}
	}
	return nil, fmt.Errorf("%s would have more than %d bytes", card.BootFile, MaxBytes)
}

// needed are the files without which nothing is started.
var needed = []string{board.ConfigFile, board.CommandLineFile, board.KernelFile, board.InitramfsFile}

// Parse reads a boot.img. One that was changed in a bit, made by something else, or lacks what a start needs is refused
// with [ErrFormat].
func Parse(b []byte) (Image, error) {
	if len(b) > MaxBytes {
		return Image{}, fmt.Errorf("%w: it has %d bytes or more, at most %d can be", ErrFormat, len(b), MaxBytes)
	}
	v, err := fat.Parse(b)
	if err != nil {
		return Image{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if v.Label != label || v.ID != card.Signature {
		return Image{}, fmt.Errorf("%w: its volume is %s with number %08x, not %s with %08x", ErrFormat, v.Label, v.ID, label, card.Signature)
	}
	i := Image{Date: v.Date, Files: v.Files}
	for _, name := range needed {
		if f, ok := i.File(name); !ok || len(f.Content) == 0 {
			return Image{}, fmt.Errorf("%w: it has no %s", ErrFormat, name)
		}
	}
	line, _ := i.File(board.CommandLineFile)
	i.Board = boardIn(string(line.Content))
	return i, nil
}

// boardIn is the board that a command line names, empty for none. The other words are the image's own: one of another
// version may have words that this one does not know.
func boardIn(commandLine string) string {
	for word := range strings.FieldsSeq(commandLine) {
		if name, ok := strings.CutPrefix(word, "touchmark.board="); ok {
			return name
		}
	}
	return ""
}

// Read is [Parse] for what a reader gives to its end, of which no more is read than one may have and a byte.
func Read(r io.Reader) (content []byte, i Image, err error) {
	if content, err = io.ReadAll(io.LimitReader(r, MaxBytes+1)); err != nil {
		return nil, i, err
	}
	i, err = Parse(content)
	return content, i, err
}

// File is one of its files.
func (i Image) File(name string) (fat.File, bool) {
	at := slices.IndexFunc(i.Files, func(f fat.File) bool { return f.Name == name })
	if at < 0 {
		return fat.File{}, false
	}
	return i.Files[at], true
}
