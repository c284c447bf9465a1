package imagepages

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"touchmark/image/card"
	"touchmark/image/fat"
)

// media is how large the card is that is written here: larger than what is written to it.
const media = 256 << 20

// TestFlashing runs the page's lines on a file in place of a card: written, read back, its data made as large as it is,
// then its system written anew with the data left alone.
func TestFlashing(t *testing.T) {
	r := newRig(t, "flashing.md")
	device := r.path("card")
	r.must(os.WriteFile(device, nil, 0o600))
	r.must(os.Truncate(device, media))
	direct := []string{"oflag=direct", "oflag=direct"}
	if f, err := os.OpenFile(device, os.O_RDWR|syscall.O_DIRECT, 0); err != nil { // some file systems have none
		direct[1] = "oflag=sync"
	} else {
		r.must(f.Close())
	}
	// A card does not become shorter when less is written to it.
	r.sh(r.lines("write", append(direct, "of=/dev/sdX", "of="+device, "conv=", "conv=notrunc,")...))
	r.verified(device)
	r.grow(device)
	r.verified(device)

	// The system is damaged, the data has something in it.
	before := r.part(device, card.DataStart, media/fat.SectorSize-card.DataStart)
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	r.must(err)
	for _, start := range []int64{card.SelectStart, card.SlotStart, card.SlotStart + card.SlotSectors} {
		_, err := f.WriteAt(bytes.Repeat([]byte("damage"), 100_000), start*fat.SectorSize)
		r.must(err)
	}
	r.must(f.Close())
	r.sh(r.lines("rewrite", "of=/dev/sdX", "of="+device))
	r.verified(device)
	if after := r.part(device, card.DataStart, media/fat.SectorSize-card.DataStart); after != before {
		t.Error("writing the system anew touched the data")
	}
	r.all()
}

// verified runs the page's line that reads a card back.
func (r *rig) verified(device string) {
	r.t.Helper()
	said := r.sh(r.lines("read", "/dev/sdX", device))
	for _, slot := range []string{"slot A (started)", "slot B"} {
		if !strings.Contains(said, slot+": the published build: rpi4 0.1.0, serial 1") {
			r.t.Errorf("%s is not the published build: %s", slot, said)
		}
	}
}

// grow runs the lines that make the data larger. The kernel gives a card's partition a device; here it is cut out of the
// file once its size is known, and put back.
func (r *rig) grow(device string) {
	r.t.Helper()
	table, rest, found := strings.Cut(r.lines("grow", "/dev/sdX4", "PARTITION", "/dev/sdX", device), "\n")
	if !found || !strings.Contains(table, "sfdisk") {
		r.t.Fatalf("the first line does not change the table: %s", table)
	}
	r.sh(table)
	f, err := os.Open(device)
	r.must(err)
	defer f.Close()
	first := make([]byte, fat.SectorSize)
	_, err = io.ReadFull(f, first)
	r.must(err)
	sectors, err := card.ParseTable(first)
	r.must(err)
	if sectors != media/fat.SectorSize-card.DataStart {
		r.t.Fatalf("the data has %d sectors of %d", sectors, media/fat.SectorSize-card.DataStart)
	}
	cut := fmt.Sprintf("dd if=%s of=partition bs=512 skip=%d count=%d conv=sparse status=none", device, card.DataStart, sectors)
	back := fmt.Sprintf("dd if=partition of=%s bs=512 seek=%d conv=notrunc status=none", device, card.DataStart)
	r.sh(cut + "\n" + strings.ReplaceAll(rest, "PARTITION", "partition") + "e2fsck -f -n partition\n" + back)
	said := r.sh("dumpe2fs -h partition")
	if want := fmt.Sprintf("Block count:              %d\n", sectors/8); !strings.Contains(said, want) {
		r.t.Errorf("the file system is not as large as the partition, %q: %s", want, said)
	}
}

// part is the hash of some sectors.
func (r *rig) part(device string, start, sectors int64) string {
	r.t.Helper()
	f, err := os.Open(device)
	r.must(err)
	defer func() { r.must(errors.Join(err, f.Close())) }()
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(f, start*fat.SectorSize, sectors*fat.SectorSize))
	r.must(err)
	return fmt.Sprintf("%s %x", filepath.Base(device), h.Sum(nil))
}
