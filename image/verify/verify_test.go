package verify

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/image/bootimg"
	"touchmark/image/bootsig"
	"touchmark/image/card"
	"touchmark/image/fat"
	"touchmark/image/manifest"
)

var date = time.Date(2026, 11, 16, 10, 17, 0, 0, time.UTC)

const dataSectors = 64

// sheet is a card in memory, of which only the pages that are not zero take any.
type sheet struct {
	pages map[int64][]byte // by number; nobody changes one in place: copies share them
	size  int64
}

const page = 4096

func (s sheet) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off < s.size {
		at := off % page
		m := int(min(page-at, s.size-off, int64(len(p)-n)))
		if b := s.pages[off/page]; b != nil {
			copy(p[n:n+m], b[at:])
		} else {
			clear(p[n : n+m])
		}
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (s sheet) write(off int64, b []byte) {
	for len(b) > 0 {
		at := off % page
		n := min(int(page-at), len(b))
		old := s.pages[off/page]
		if old != nil || !zero(b[:n]) {
			fresh := make([]byte, page)
			copy(fresh, old)
			copy(fresh[at:], b[:n])
			s.pages[off/page] = fresh
		}
		b, off = b[n:], off+int64(n)
	}
}

// flip changes a bit of the byte at a place.
func (s sheet) flip(at int64) {
	b := make([]byte, 1)
	_, _ = s.ReadAt(b, at)
	s.write(at, []byte{b[0] ^ 1})
}

// made is a card in memory, and what was published of it.
type made struct {
	card       sheet
	m          manifest.Manifest
	key, other *rsa.PrivateKey
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (c *made) put(at int64, b []byte) { c.card.write(at*fat.SectorSize, b) }

// base is a sound card and two keys, made once; tests change copies.
var base = sync.OnceValues(func() (c made, err error) {
	c.card = sheet{map[int64][]byte{}, (card.DataStart + dataSectors) * fat.SectorSize}
	for _, key := range []**rsa.PrivateKey{&c.key, &c.other} {
		if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return c, err
		}
	}
	boot := image
	c.m = manifest.Manifest{Format: manifest.Format, Board: "rpi4", Version: "0.1.0", Files: []manifest.File{
		{Name: card.BootFile, Size: int64(len(boot)), SHA256: fmt.Sprintf("%x", sha256.Sum256(boot))}}}
	c.put(0, card.Table(dataSectors))
	selected, err := card.Select(update.First().Marshal(), date)
	if err != nil {
		return c, err
	}
	c.put(card.SelectStart, selected)
	slot, err := c.slot(boot, board.SlotConfig)
	if err != nil {
		return c, err
	}
	c.put(card.SlotStart, slot)
	c.put(card.SlotStart+card.SlotSectors, slot)
	c.card.write(super+0x38, []byte{0x53, 0xef})
	c.card.write(super+0x78, []byte("touchmark-data"))
	return c, nil
})

// super is where the data's superblock is.
const super = card.DataStart*fat.SectorSize + 1024

// bootOf is a boot.img of a board.
func bootOf(name, kernel string) []byte {
	b, err := bootimg.Make([]fat.File{{Name: board.ConfigFile, Content: []byte("c")}, {Name: board.CommandLineFile, Content: []byte("touchmark.board=" + name)},
		{Name: board.KernelFile, Content: bytes.Repeat([]byte(kernel), 100_000)}, {Name: board.InitramfsFile, Content: []byte("i")}}, date)
	if err != nil {
		panic(err)
	}
	return b
}

var image = bootOf("rpi4", "image")

func newCard(t *testing.T) *made {
	t.Helper()
	c := must[made](t)(base())
	c.card.pages = maps.Clone(c.card.pages)
	return &c
}

func (c *made) sign(digest []byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, c.key, crypto.SHA256, digest)
}

func (c *made) slot(boot []byte, config string) ([]byte, error) {
	sig, err := bootsig.New(boot, date.Unix(), &c.key.PublicKey, c.sign)
	if err != nil {
		return nil, err
	}
	return card.Slot{Config: []byte(config), Boot: boot, Sig: sig.Bytes()}.Bytes(date)
}

func (c *made) verify() (Report, error) {
	r, err := Card(c.card, c.m, &c.key.PublicKey)
	if err == nil {
		err = r.Err()
	}
	return r, err
}

func TestCard(t *testing.T) {
	c := newCard(t)
	r, err := c.verify()
	if err != nil {
		t.Fatal(err)
	}
	if r.Started != update.A || r.Phase != update.Settled || r.Data != dataSectors || r.Slots[1].Other != nil {
		t.Errorf("%+v", r)
	}

	// Another build in the slot that is not started is said, and is no error.
	c.put(card.SlotStart+card.SlotSectors, must[[]byte](t)(c.slot([]byte("an older image"), board.SlotConfig)))
	if r, err = c.verify(); err != nil || r.Of(update.B).Other == nil {
		t.Errorf("%v, %v", err, r.Slots[1].Other)
	}
	// Once it is started, it is one.
	state := update.First()
	state.Boot = update.B
	c.put(card.SelectStart, must[[]byte](t)(card.Select(state.Marshal(), date)))
	if _, err = c.verify(); !errors.Is(err, ErrOther) || !strings.HasPrefix(err.Error(), "not the published build: slot B, which is started: ") {
		t.Error(err)
	}
}

// volumeID is where a FAT16 volume has its number.
const volumeID = 39

func TestEveryChangeIsSeen(t *testing.T) {
	slotB := int64(card.SlotStart + card.SlotSectors)
	for name, change := range map[string]func(t *testing.T, c *made){
		"partition table":          func(_ *testing.T, c *made) { c.card.flip(450) },
		"a boot program":           func(_ *testing.T, c *made) { c.card.write(0, []byte{0xeb}) },
		"before partition 1":       func(_ *testing.T, c *made) { c.card.flip(1000) },
		"partition 1":              func(_ *testing.T, c *made) { c.card.flip(card.SelectStart * fat.SectorSize) },
		"partition 1's free space": func(_ *testing.T, c *made) { c.card.flip(card.SlotStart*fat.SectorSize - 1) },
		"autoboot.txt": func(t *testing.T, c *made) {
			c.put(card.SelectStart, must[[]byte](t)(card.Select([]byte(fmt.Sprintf("%-512s", "[all]\nboot_partition=2\nkernel_old=1\n")), date)))
		},
		"another file in partition 1": func(t *testing.T, c *made) {
			c.put(card.SelectStart, must[[]byte](t)(fat.Volume{Label: "TM-SELECT", ID: card.Signature, Sectors: card.SelectSectors, Date: date, Files: []fat.File{
				{Name: card.SelectFile, Content: update.First().Marshal()}, {Name: "recovery.bin", Content: []byte("x")}}}.Bytes()))
		},
		"partition 1's number": func(_ *testing.T, c *made) { c.card.flip(card.SelectStart*fat.SectorSize + volumeID) },
		"slot A's number":      func(_ *testing.T, c *made) { c.card.flip(card.SlotStart*fat.SectorSize + volumeID) },
		"slot A's free space":  func(_ *testing.T, c *made) { c.card.flip(slotB*fat.SectorSize - 1) },
		"slot A's image":       func(_ *testing.T, c *made) { c.card.flip((card.SlotStart + 500) * fat.SectorSize) },
		"slot A's config": func(t *testing.T, c *made) {
			c.put(card.SlotStart, must[[]byte](t)(c.slot(image, "boot_ramdisk=0\n")))
		},
		"slot A, another build": func(t *testing.T, c *made) {
			c.put(card.SlotStart, must[[]byte](t)(c.slot([]byte("other"), board.SlotConfig)))
		},
		"slot A, another key": func(_ *testing.T, c *made) { c.key = c.other },
		"slot A empty":        func(_ *testing.T, c *made) { c.put(card.SlotStart, make([]byte, card.SlotSectors*fat.SectorSize)) },
		"data's name":         func(_ *testing.T, c *made) { c.card.flip(super + 0x78) },
		"no data":             func(_ *testing.T, c *made) { c.card.flip(super + 0x38) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(t)
			change(t, c)
			if r, err := c.verify(); err == nil || errors.Is(err, ErrRead) || !errors.Is(err, ErrOther) && !errors.Is(err, card.ErrTable) {
				t.Errorf("not seen: %+v, %v", r, err)
			}
		})
	}
}

func TestShortCard(t *testing.T) {
	c := newCard(t)
	for _, n := range []int64{0, 511, card.SelectStart * fat.SectorSize, card.DataStart * fat.SectorSize} {
		if _, err := Card(sheet{c.card.pages, n}, c.m, nil); err == nil {
			t.Errorf("%d bytes are a card", n)
		}
	}
}

func TestReadErrorsAreNotDifferences(t *testing.T) {
	c := newCard(t)
	broken := errors.New("input/output error")
	slotA, slotB := int64(card.SlotStart)*fat.SectorSize, int64(card.SlotStart+card.SlotSectors)*fat.SectorSize
	for _, at := range []int64{0, 2 << 20, slotA, slotB, card.DataStart * fat.SectorSize} {
		if _, err := Card(brokenAfter{c.card, at, broken}, c.m, nil); !errors.Is(err, broken) || !errors.Is(err, ErrRead) || errors.Is(err, ErrOther) {
			t.Errorf("a card that breaks at %d: %v", at, err)
		}
	}
	for _, r := range []io.Reader{iotest.ErrReader(broken), io.MultiReader(bytes.NewReader(make([]byte, slotBytes+1)), iotest.ErrReader(broken))} {
		if _, err := File(r, c.m, nil); !errors.Is(err, broken) || !errors.Is(err, ErrRead) || errors.Is(err, ErrOther) {
			t.Errorf("a file that breaks: %v", err)
		}
	}
}

// brokenAfter is a card that cannot be read beyond a place.
type brokenAfter struct {
	io.ReaderAt
	at  int64
	err error
}

func (b brokenAfter) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, b.err
	}
	return b.ReaderAt.ReadAt(p, off)
}

func TestFile(t *testing.T) {
	c := newCard(t)
	whole := must[[]byte](t)(c.slot(image, board.SlotConfig))
	sig := func(boot []byte) []byte {
		return must[bootsig.Sig](t)(bootsig.New(boot, date.Unix(), &c.key.PublicKey, c.sign)).Bytes()
	}
	key, other := &c.key.PublicKey, &c.other.PublicKey
	const generic = "no file of it has SHA-256"
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-1] ^= 1
	for name, f := range map[string]struct {
		content []byte
		key     *rsa.PublicKey
		want    string // the file's name, or a part of the error
		err     error
	}{
		"boot.img":              {image, nil, card.BootFile, nil},
		"boot.img, a key":       {image, key, "boot.sig", ErrNoSig},
		"slot":                  {whole, nil, "slot", nil},
		"slot, its key":         {whole, key, "slot", nil},
		"slot, another key":     {whole, other, "not signed by this key", ErrOther},
		"slot, another build":   {must[[]byte](t)(c.slot([]byte("other"), board.SlotConfig)), nil, "published is", ErrOther},
		"slot, damaged":         {damaged, nil, generic, ErrOther},
		"boot.sig":              {sig(image), nil, card.SigFile, nil},
		"boot.sig, its key":     {sig(image), key, card.SigFile, nil},
		"boot.sig, another key": {sig(image), other, "not signed by this key", ErrOther},
		"boot.sig of others":    {sig([]byte("other")), nil, "made for another boot.img", ErrOther},
		"text":                  {[]byte("x"), nil, generic, ErrOther},
		"nothing":               {nil, nil, generic, ErrOther},
	} {
		got, err := File(bytes.NewReader(f.content), c.m, f.key)
		if f.err == nil && (err != nil || got != f.want) || f.err != nil && (!errors.Is(err, f.err) || !strings.Contains(err.Error(), f.want)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := File(bytes.NewReader(sig(image)), manifest.Manifest{Files: []manifest.File{{Name: card.BootFile, SHA256: strings.Repeat("0", 99)}}}, nil); !errors.Is(err, ErrOther) {
		t.Errorf("a manifest without a hash: %v", err)
	}
}

// TestBoard: a manifest that calls a board's image another board's is not believed.
func TestBoard(t *testing.T) {
	c := newCard(t)
	c.m.Board = "cm4"
	const want = `is for a board "rpi4", the manifest is of board "cm4"`
	if _, err := c.verify(); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), want) {
		t.Errorf("card: %v", err)
	}
	if _, err := File(bytes.NewReader(image), c.m, nil); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), want) {
		t.Errorf("boot.img: %v", err)
	}
	c.m.Files[0].SHA256 = fmt.Sprintf("%x", sha256.Sum256([]byte("x")))
	if _, err := File(strings.NewReader("x"), c.m, nil); !errors.Is(err, ErrOther) || !errors.Is(err, bootimg.ErrFormat) {
		t.Errorf("a boot.img that is none: %v", err)
	}
}
