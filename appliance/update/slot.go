package update

import (
	"crypto/sha256"
	"fmt"
	"io"

	"touchmark/appliance/update/fat"
	"touchmark/tpm/ledger/order"
)

// imageFile is the whole operating system, in a slot's file system.
const imageFile = "boot.img"

// Check says in what boot.img in a slot's file system is not the one that an order
// names.
func Check(slot io.ReaderAt, im *order.Image) error {
	got, err := BootImage(slot, int64(im.Size))
	if err == nil && got != im.Image {
		err = fmt.Errorf("boot.img in the slot is %x, the order names %x", got, im.Image)
	}
	return err
}

// BootImage is SHA-256 of boot.img in a slot's file system of so many bytes.
func BootImage(slot io.ReaderAt, size int64) (sum [32]byte, err error) {
	fs, err := fat.Open(slot, size)
	if err != nil {
		return sum, err
	}
	f, err := fs.Find(imageFile)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f.Reader()); err != nil {
		return sum, fmt.Errorf("reading boot.img: %w", err)
	}
	return [32]byte(h.Sum(nil)), nil
}
