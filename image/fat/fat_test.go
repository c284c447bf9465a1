package fat

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	boardfat "touchmark/appliance/update/fat"
)

var date = time.Date(2026, 11, 16, 10, 17, 0, 0, time.UTC)

// sample has an empty file, one of exactly a cluster, one of many.
func sample(sectors int) Volume {
	return Volume{Label: "TM-TEST", ID: 0x544d4b31, Sectors: sectors, Date: date, Files: []File{
		{"empty.txt", nil},
		{"one.bin", bytes.Repeat([]byte{1}, SectorSize)},
		{"boot.img", bytes.Repeat([]byte("boot"), 50_000)},
		{"licence", []byte("no extension\n")},
	}}
}

func mustBytes(t testing.TB, v Volume) []byte {
	t.Helper()
	b, err := v.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// counted counts how often it is read.
type counted struct {
	*bytes.Reader
	reads int
}

func (c *counted) ReadAt(b []byte, at int64) (int, error) {
	c.reads++
	return c.Reader.ReadAt(b, at)
}

// TestTableIsReadInPieces: where a file of ten thousand clusters lies is known after some reads, not one for each: a board does it
// at each start.
func TestTableIsReadInPieces(t *testing.T) {
	v := Volume{Label: "TM-TEST", ID: 1, Sectors: 65536, Date: date, Files: []File{{"boot.img", bytes.Repeat([]byte("boot"), 2_600_000)}}}
	b := mustBytes(t, v)
	r := &counted{Reader: bytes.NewReader(b)}
	fs, err := boardfat.Open(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Find("boot.img"); err != nil {
		t.Fatal(err)
	}
	if r.reads > 100 {
		t.Errorf("%d reads", r.reads)
	}
}

// TestForeignReaders has programs that nobody here wrote check volumes of each cluster size and read them.
func TestForeignReaders(t *testing.T) {
	for _, sectors := range []int{MinSectors, 16384, 65536} {
		v := sample(sectors)
		path := filepath.Join(t.TempDir(), "volume")
		if err := os.WriteFile(path, mustBytes(t, v), 0o600); err != nil {
			t.Fatal(err)
		}
		said := tool(t, "fsck.vfat", "-n", "-v", path)
		if !strings.Contains(said, "FATs, 16 bit entries") {
			t.Errorf("%d sectors: fsck.vfat does not see FAT16:\n%s", sectors, said)
		}
		for _, f := range v.Files {
			if got := tool(t, "mtype", "-i", path, "::"+f.Name); got != string(f.Content) {
				t.Errorf("%d sectors: mtype %s gives %d bytes, want %d", sectors, f.Name, len(got), len(f.Content))
			}
		}
		list := tool(t, "mdir", "-i", path, "::")
		for _, want := range []string{"TM-TEST", "544D-4B31", "boot     img    200000 2026-11-16  10:17", "4 files"} {
			if !strings.Contains(list, want) {
				t.Errorf("%d sectors: mdir does not say %s:\n%s", sectors, want, list)
			}
		}
	}
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C", "MTOOLS_SKIP_CHECK=0", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s(run make setup)", name, args, err, out)
	}
	return string(out)
}

// TestTheBoardReads: the reader, which knows nothing of how this package writes, finds the files where they lie.
func TestTheBoardReads(t *testing.T) {
	b := mustBytes(t, sample(8192))
	fs, err := boardfat.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sample(8192).Files[1:] {
		found, err := fs.Find(f.Name)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(found.Reader()); err != nil || !bytes.Equal(got.Bytes(), f.Content) {
			t.Errorf("%s: %d bytes, %v", f.Name, got.Len(), err)
		}
	}
}

func TestReadGivesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := Volume{Label: rapid.StringMatching(`[A-Z0-9_-]{1,11}`).Draw(t, "label"), ID: rapid.Uint32().Draw(t, "id"),
			Sectors: rapid.SampledFrom([]int{MinSectors, 8192, 8193}).Draw(t, "sectors"), Date: date}
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9_-]{1,8}(\.[a-z0-9_-]{1,3})?`), 0, 5, rapid.ID).Draw(t, "names")
		for _, n := range names {
			v.Files = append(v.Files, File{n, rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, n)})
		}
		b, err := v.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(bytes.NewReader(b), v.Sectors)
		if err != nil {
			t.Fatal(err)
		}
		if got.Label != v.Label || got.ID != v.ID || !got.Date.Equal(v.Date) || len(got.Files) != len(v.Files) {
			t.Fatalf("read %+v", got)
		}
		for i, f := range v.Files {
			if got.Files[i].Name != f.Name || !bytes.Equal(got.Files[i].Content, f.Content) {
				t.Fatalf("file %d: %q of %d bytes, want %q of %d", i, got.Files[i].Name, len(got.Files[i].Content), f.Name, len(f.Content))
			}
		}
	})
}

// TestEveryChangeIsSeen changes one byte at a time: all of boot sector, tables' beginning, root, and pieces of the rest.
// What is still read must be another volume, never the same one.
func TestEveryChangeIsSeen(t *testing.T) {
	v := sample(MinSectors)
	b := mustBytes(t, v)
	g, err := shape(v.Sectors)
	if err != nil {
		t.Fatal(err)
	}
	try := func(at int) {
		b[at] ^= 0x20
		defer func() { b[at] ^= 0x20 }()
		got, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("byte %d: %v", at, err)
			}
			return
		}
		if bytes.Equal(mustBytes(t, got), mustBytes(t, v)) {
			t.Errorf("byte %d may be changed", at)
		}
	}
	for at := 0; at < 600; at += 11 {
		try(at)
	}
	for at := g.rootStart * SectorSize; at < g.rootStart*SectorSize+200; at += 11 {
		try(at)
	}
	for at := SectorSize; at < len(b); at += len(b) / 41 {
		try(at)
	}
	try(len(b) - 1)
}

func TestRefused(t *testing.T) {
	good := sample(8192)
	for name, change := range map[string]func(*Volume){
		"too small":      func(v *Volume) { v.Sectors = MinSectors - 1 },
		"too large":      func(v *Volume) { v.Sectors = MaxSectors + 1 },
		"full":           func(v *Volume) { v.Files[2].Content = make([]byte, 4<<20) },
		"no label":       func(v *Volume) { v.Label = "" },
		"long label":     func(v *Volume) { v.Label = "ABCDEFGHIJKL" },
		"label's letter": func(v *Volume) { v.Label = "touch" },
		"upper case":     func(v *Volume) { v.Files[0].Name = "Empty.txt" },
		"long name":      func(v *Volume) { v.Files[0].Name = "ninechars.txt" },
		"long extension": func(v *Volume) { v.Files[0].Name = "a.text" },
		"two dots":       func(v *Volume) { v.Files[0].Name = "a.b.c" },
		"only a dot":     func(v *Volume) { v.Files[0].Name = "a." },
		"no base":        func(v *Volume) { v.Files[0].Name = ".txt" },
		"folder":         func(v *Volume) { v.Files[0].Name = "a/b" },
		"space":          func(v *Volume) { v.Files[0].Name = "a b" },
		"twice":          func(v *Volume) { v.Files[0].Name = "one.bin" },
		"many":           func(v *Volume) { v.Files = make([]File, rootEntries) },
	} {
		v := good
		v.Files = append([]File(nil), good.Files...)
		change(&v)
		if _, err := v.Bytes(); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	v := good
	v.Files = []File{{"a", make([]byte, 4<<20)}}
	if _, err := v.Bytes(); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if _, err := Read(bytes.NewReader(make([]byte, 100)), 8192); !errors.Is(err, ErrFormat) {
		t.Errorf("short: %v", err)
	}
}

// TestShapes goes through all sizes: each has clusters that every reader takes for FAT16, and its parts do not overlap.
func TestShapes(t *testing.T) {
	for sectors := MinSectors; sectors <= MaxSectors; sectors += 7 {
		g, err := shape(sectors)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case g.clusters < minClusters || g.clusters > 65524:
			t.Fatalf("%d sectors: %d clusters", sectors, g.clusters)
		case (g.clusters+firstCluster)*2 > g.table*SectorSize:
			t.Fatalf("%d sectors: %d clusters in a table of %d sectors", sectors, g.clusters, g.table)
		case g.dataStart+g.clusters*g.cluster > sectors:
			t.Fatalf("%d sectors: the clusters end behind them", sectors)
		}
	}
}

func FuzzParse(f *testing.F) {
	small := mustBytes(f, Volume{Label: "A", Sectors: MinSectors, Date: date, Files: []File{{"a.txt", []byte("text")}}})
	// The rest of a volume is zero: what is fuzzed is the beginning of its three parts.
	g, err := shape(MinSectors)
	if err != nil {
		f.Fatal(err)
	}
	root, data := g.rootStart*SectorSize, g.dataStart*SectorSize
	f.Add(small[:64], small[SectorSize:SectorSize+16], small[root:root+128], small[data:data+16])
	f.Fuzz(func(t *testing.T, head, table, dir, content []byte) {
		b := bytes.Clone(small)
		copy(b, head)
		copy(b[SectorSize:], table)
		copy(b[SectorSize+g.table*SectorSize:], table)
		copy(b[root:data], dir)
		copy(b[data:], content)
		v, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(mustBytes(t, v), b) {
			t.Error("what was read is not what is made again")
		}
	})
}
