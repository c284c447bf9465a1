package card_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/appliance/update/cardtest"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore/durable"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var ctx = context.Background()

func quiet(int64) {}

func opened(t testing.TB, d durable.Disk, path string) *card.Card {
	t.Helper()
	c, err := card.Open(d, path)
	must(t, err)
	return c
}

// A whole update on a file, from the first start of the old image to the first of
// the new one that is not a trial.
func TestUpdate(t *testing.T) {
	path := cardtest.Write(t, update.First())
	before, err := os.ReadFile(path)
	must(t, err)
	im, slot := cardtest.Image("2", 2)
	c := opened(t, durable.OS, path)
	if e, err := c.AtStart(1, update.Start{1}); e != update.Nothing || err != nil {
		t.Fatal(e, err)
	}
	var done []int64
	must(t, c.Stage(ctx, im, bytes.NewReader(slot), func(n int64) { done = append(done, n) }))
	if len(done) == 0 || done[len(done)-1] != 2*int64(im.Size) {
		t.Errorf("progress %v", done)
	}
	must(t, c.Holds(ctx, im))
	next, err := c.State().SwitchTo([32]byte{7}, im, update.Start{1})
	must(t, err)
	must(t, c.Set(next))
	if err := c.Stage(ctx, im, bytes.NewReader(slot), quiet); err == nil {
		t.Error("a slot was written while the next start is to try it")
	}
	must(t, c.Close())

	c = opened(t, durable.OS, path)
	if e, err := c.AtStart(2, update.Start{2}); e != update.OnTrial || err != nil || c.State().Boot != update.A {
		t.Fatal(e, err)
	}
	kept, err := c.State().Keep(update.Start{2})
	must(t, err)
	must(t, c.Set(kept))
	must(t, c.Close())
	c = opened(t, durable.OS, path)
	if e, err := c.AtStart(2, update.Start{3}); e != update.Nothing || err != nil || c.State().Boot != update.B {
		t.Fatal(e, err)
	}
	must(t, c.Close())

	after, err := os.ReadFile(path)
	must(t, err)
	l, err := update.ReadLayout(bytes.NewReader(after))
	must(t, err)
	if !bytes.Equal(after[l.B.Offset:l.B.Offset+int64(im.Size)], slot) {
		t.Error("slot B does not hold the image")
	}
	changed := 0
	for at := int64(0); at < int64(len(after)); at += update.SectorSize {
		inB := at >= l.B.Offset && at < l.B.Offset+int64(im.Size)
		if !inB && !bytes.Equal(before[at:at+update.SectorSize], after[at:at+update.SectorSize]) {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d sectors changed beside slot B, want that of autoboot.txt", changed)
	}
}

func TestStageRefuses(t *testing.T) {
	for want, change := range map[string]func(im *order.Image, slot []byte) io.Reader{
		"reading the image": func(_ *order.Image, slot []byte) io.Reader { return bytes.NewReader(slot[:len(slot)-1]) },
		"was damaged":       func(_ *order.Image, slot []byte) io.Reader { slot[20000] ^= 1; return bytes.NewReader(slot) },
		"boot.img in the":   func(im *order.Image, slot []byte) io.Reader { im.Image[0]++; return bytes.NewReader(slot) },
		"the slot 65536":    func(im *order.Image, slot []byte) io.Reader { im.Size = 1 << 20; return bytes.NewReader(slot) },
	} {
		path := cardtest.Write(t, update.First())
		c := opened(t, durable.OS, path)
		im, slot := cardtest.Image("2", 2)
		if err := c.Stage(ctx, im, change(im, slot), quiet); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
		if err := c.Holds(ctx, im); err == nil {
			t.Errorf("%q: the slot holds it", want)
		}
		must(t, c.Close())
	}
	c := opened(t, durable.OS, cardtest.Write(t, update.First()))
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	im, slot := cardtest.Image("2", 2)
	if err := c.Stage(stopped, im, bytes.NewReader(slot), quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	must(t, c.Close())
}

func TestOpenRefuses(t *testing.T) {
	good := cardtest.Card(update.First())
	l, err := update.ReadLayout(bytes.NewReader(good))
	must(t, err)
	text := bytes.Index(good, []byte("# touchmark/autoboot"))
	for name, change := range map[string]func(b []byte){
		"no table":     func(b []byte) { b[511] = 0 },
		"no FAT":       func(b []byte) { b[l.Boot.Offset+511] = 0 },
		"no file":      func(b []byte) { copy(b[bytes.Index(b, []byte("AUTOBOOTTXT")):], "AUTOBOOTBAK") },
		"a short file": func(b []byte) { b[bytes.Index(b, []byte("AUTOBOOTTXT"))+28]-- },
		"an edit":      func(b []byte) { copy(b[text+300:], "boot_partition=3") },
	} {
		b := bytes.Clone(good)
		change(b)
		path := filepath.Join(t.TempDir(), "card")
		must(t, os.WriteFile(path, b, 0o600))
		if c, err := card.Open(durable.OS, path); err == nil {
			t.Errorf("%s: opened", name)
			must(t, c.Close())
		}
	}
	if _, err := card.Open(durable.OS, filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
