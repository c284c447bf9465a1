package frozen

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

const dir = "/d"

var names = []string{"/d/a", "/d/b", "/d/c"}

// content is all that a disk says of its files.
func content(t rapid.TB, d durable.Disk) string {
	t.Helper()
	list, err := d.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	said := fmt.Sprintln(list)
	for _, name := range names {
		b, err := durable.ReadFile(d, name, 1<<20)
		said += fmt.Sprintf("%s %x %t\n", name, b, errors.Is(err, unix.ENOENT))
	}
	return said
}

// act does something to a disk, and says how that went.
type act func(d durable.Disk) string

// change draws something that is done to one file.
func change(t *rapid.T) act {
	path, to := rapid.SampledFrom(names).Draw(t, "path"), rapid.SampledFrom(names).Draw(t, "to")
	flag := os.O_RDWR | rapid.SampledFrom([]int{0, os.O_CREATE, os.O_CREATE | os.O_EXCL, os.O_CREATE | os.O_TRUNC}).Draw(t, "flag")
	at, size := rapid.Int64Range(0, 3*pageSize).Draw(t, "at"), rapid.IntRange(1, 2*pageSize).Draw(t, "size")
	b := slices.Repeat([]byte{byte(rapid.IntRange(1, 255).Draw(t, "byte"))}, size)
	in := func(do func(durable.File) string) act {
		return func(d durable.Disk) string {
			f, err := d.Open(path, flag, 0o600)
			if err != nil {
				return fmt.Sprint("open ", errors.Is(err, unix.ENOENT), errors.Is(err, unix.EEXIST))
			}
			return do(f) + fmt.Sprint(f.Close())
		}
	}
	return rapid.SampledFrom([]act{
		in(func(f durable.File) string { n, err := f.WriteAt(b, at); return fmt.Sprint("write ", n, err, f.Sync()) }),
		in(func(f durable.File) string { return fmt.Sprint("truncate ", f.Truncate(at), f.Chmod(0o400)) }),
		in(func(f durable.File) string {
			got := make([]byte, size)
			n, err := f.ReadAt(got, at)
			length, serr := f.Size()
			return fmt.Sprintf("read %x %t %d %v", got[:n], errors.Is(err, io.EOF), length, serr)
		}),
		func(d durable.Disk) string { return fmt.Sprint("remove ", errors.Is(d.Remove(path), unix.ENOENT)) },
		func(d durable.Disk) string {
			if path == to {
				return ""
			}
			return fmt.Sprint("rename ", errors.Is(d.Rename(path, to), unix.ENOENT), d.SyncDir(dir))
		},
	}).Draw(t, "act")
}

// TestLikeADisk: who writes to a disk that takes nothing reads what he would read of one that takes everything; the disk itself
// stays as it is.
func TestLikeADisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		under := disktest.New(dir)
		for _, name := range names[:2] {
			if err := durable.WriteFileOn(under, name, slices.Repeat([]byte(name), rapid.IntRange(0, pageSize).Draw(t, "length")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		model := under.Clone()
		before := content(t, under)
		under.Freeze(true)
		d := On(under, 1<<20)
		for range rapid.IntRange(1, 20).Draw(t, "acts") {
			do := change(t)
			if got, want := do(d), do(model); got != want {
				t.Fatalf("%.200s, want %.200s", got, want)
			}
			if got, want := content(t, d), content(t, model); got != want {
				t.Fatal("the disks differ")
			}
		}
		if content(t, under) != before {
			t.Fatal("the disk was written")
		}
	})
}

// TestLimit: what is held in memory has an end, and directories are not made at all.
func TestLimit(t *testing.T) {
	d := On(disktest.New(dir), 2*pageSize)
	f, err := d.Open(names[0], os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt(make([]byte, 3*pageSize), 0); n != 2*pageSize || !errors.Is(err, unix.EROFS) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := f.WriteAt(make([]byte, pageSize), pageSize/2); n != pageSize || err != nil {
		t.Errorf("into what is held: %d bytes, %v", n, err)
	}
	if err := d.Mkdir("/d/e", 0o700); !errors.Is(err, unix.EROFS) {
		t.Error(err)
	}
}

// TestHeldOpen: two who have a file open see the same, also when its name is gone, and the disk's error is theirs.
func TestHeldOpen(t *testing.T) {
	under := disktest.New(dir)
	if err := durable.WriteFileOn(under, names[0], []byte("on the disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := On(under, 1<<20)
	one, err1 := d.Open(names[0], os.O_RDWR, 0)
	two, err2 := d.Open(names[0], os.O_RDONLY, 0)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	_, err := one.WriteAt([]byte("in"), 0)
	if err := errors.Join(err, d.Remove(names[0]), one.Close()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 11)
	if _, err := two.ReadAt(b, 0); err != nil || string(b) != "in the disk" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := d.Open(names[0], os.O_RDWR, 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("what is gone: %v", err)
	}
	under.FailAt(1, disktest.NotApplied, unix.EIO)
	if _, err := two.ReadAt(b, 0); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
}
