package order

import (
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
)

// Image has the board start another image of its operating system. What the
// board demands of one beyond its form, package update says.
type Image struct {
	Board   string   // kind of hardware that it is for
	Version string   // of the appliance in it, as boot entries name it
	Serial  uint64   // rises with each image, from 1
	Size    uint64   // bytes of the file system that a slot holds: whole sectors, at most MaxImage
	Slot    [32]byte // its SHA-256
	Image   [32]byte // SHA-256 of boot.img in it
}

// Kind is ledger.KindImage.
func (*Image) Kind() string { return ledger.KindImage }

func (a *Image) write(w *canon.Writer) {
	w.Line("board", a.Board)
	w.Line("version", a.Version)
	w.Line("serial", canon.Uint(a.Serial))
	w.Line("slot", canon.Uint(a.Size), canon.Hex(a.Slot[:]))
	w.Line("image", canon.Hex(a.Image[:]))
}

func (a *Image) read(r *canon.Reader, _ string) {
	if a.Board = r.Line("board", 1)[0]; r.Err() == nil && !message.ValidToken(a.Board) {
		r.Failf("%q is no name of a kind of board", a.Board)
	}
	if a.Version = r.Line("version", 1)[0]; r.Err() == nil && !ledger.ValidName(a.Version) {
		r.Failf("%q is no version of 1 to %d characters", a.Version, ledger.MaxName)
	}
	a.Serial = r.Uint(r.Line("serial", 1)[0], ledger.MaxSize)
	f := r.Line("slot", 2)
	a.Size, a.Slot = r.Uint(f[0], MaxImage), [32]byte(r.Hex(f[1], 32))
	a.Image = [32]byte(r.Hex(r.Line("image", 1)[0], 32))
	if r.Err() == nil && (a.Serial == 0 || a.Size == 0 || a.Size%sector != 0) {
		r.Failf("an image has a serial from 1 on, and whole sectors of %d bytes", sector)
	}
}
