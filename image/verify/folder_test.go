package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"touchmark/image/board"
	"touchmark/image/bootsig"
	"touchmark/image/card"
	"touchmark/image/fat"
	"touchmark/image/manifest"
)

// newFolder is a build's folder, with a slot that the key signed, and its manifest; with the card if it is wanted, which is
// large.
func newFolder(t *testing.T, withCard bool) (c *made, dir fstest.MapFS) {
	t.Helper()
	c = newCard(t)
	dir = fstest.MapFS{}
	for name, content := range map[string][]byte{
		card.BootFile: image, slotFile: must[[]byte](t)(c.slot(image, board.SlotConfig)),
		card.SigFile:     must[bootsig.Sig](t)(bootsig.New(image, date.Unix(), &c.key.PublicKey, c.sign)).Bytes(),
		"sbom.spdx.json": []byte("{}"), "licences/go": []byte("BSD"), "licences/glibc": []byte("LGPL"),
	} {
		dir[name] = &fstest.MapFile{Data: content}
	}
	if withCard {
		whole := make([]byte, c.card.size)
		must[int](t)(c.card.ReadAt(whole, 0))
		dir[cardFile] = &fstest.MapFile{Data: whole}
	}
	c.m.Files = nil
	for _, name := range slices.Sorted(maps.Keys(dir)) {
		b := dir[name].Data
		c.m.Files = append(c.m.Files, manifest.File{Name: name, Size: int64(len(b)), SHA256: fmt.Sprintf("%x", sha256.Sum256(b))})
	}
	dir[ManifestFile] = &fstest.MapFile{Data: must[[]byte](t)(c.m.Bytes())}
	return c, dir
}

// change is something that happened to a folder, and the beginnings of what is said of it.
type change struct {
	key  *rsa.PublicKey
	do   func(dir fstest.MapFS)
	want []string
}

func (x change) judge(t *testing.T, name string, sound fstest.MapFS, m manifest.Manifest) {
	t.Helper()
	dir := fstest.MapFS{}
	for name, f := range sound {
		dir[name] = &fstest.MapFile{Data: f.Data}
	}
	x.do(dir)
	got, err := Folder(dir, m, x.key)
	if err != nil || !slices.EqualFunc(got, x.want, strings.HasPrefix) {
		t.Errorf("%s: %q, %v, want %q", name, got, err, x.want)
	}
}

func flipped(b []byte, at int) *fstest.MapFile {
	b = bytes.Clone(b)
	b[at] ^= 1
	return &fstest.MapFile{Data: b}
}

func untouched(fstest.MapFS) {}

func TestFolder(t *testing.T) {
	c, sound := newFolder(t, false)
	resigned := *c
	resigned.key = c.other
	theirs := must[[]byte](t)(resigned.slot(image, board.SlotConfig))
	type dir = fstest.MapFS
	for name, x := range map[string]change{
		"published":              {nil, untouched, nil},
		"no manifest":            {nil, func(d dir) { delete(d, ManifestFile) }, nil},
		"manifest in other form": {nil, func(d dir) { d[ManifestFile].Data = append(bytes.Clone(d[ManifestFile].Data), '\n') }, nil},
		"a byte of the list":     {nil, func(d dir) { d["sbom.spdx.json"] = flipped(d["sbom.spdx.json"].Data, 1) }, []string{"sbom.spdx.json: has SHA-256 "}},
		"a byte of a licence":    {nil, func(d dir) { d["licences/go"] = flipped(d["licences/go"].Data, 0) }, []string{"licences/go: has SHA-256 "}},
		"a byte of boot.img":     {&c.key.PublicKey, func(d dir) { d[card.BootFile] = flipped(image, len(image)-1) }, []string{"boot.img: has SHA-256 "}},
		"no list":                {nil, func(d dir) { delete(d, "sbom.spdx.json") }, []string{"sbom.spdx.json: missing"}},
		"no licences":            {nil, func(d dir) { delete(d, "licences/go"); delete(d, "licences/glibc") }, []string{"licences/glibc: missing", "licences/go: missing"}},
		"a licence more":         {nil, func(d dir) { d["licences/more"] = d["licences/go"] }, []string{"licences/more: no file of the build"}},
		"a folder more":          {nil, func(d dir) { d["more/x"] = d["licences/go"] }, []string{"more: no folder of the build"}},
		"a file for a folder": {nil, func(d dir) {
			d["licences"] = d["licences/go"]
			delete(d, "licences/go")
			delete(d, "licences/glibc")
		}, []string{"licences/glibc: missing", "licences/go: missing", "licences: no file of the build"}},
		"a link": {nil, func(d dir) { d["licences/go"] = &fstest.MapFile{Data: []byte("glibc"), Mode: fs.ModeSymlink} }, []string{"licences/go: no plain file"}},
		"a pipe": {nil, func(d dir) { d[ManifestFile] = &fstest.MapFile{Mode: fs.ModeNamedPipe} }, []string{"manifest.json: no plain file"}},
		"another manifest": {nil, func(d dir) {
			d[ManifestFile].Data = bytes.Replace(d[ManifestFile].Data, []byte("0.1.0"), []byte("0.2.0"), 1)
		}, []string{"manifest.json: it differs in 1 things from the manifest that was named, first in version: 0.2.0 and 0.1.0"}},
		"no such manifest":            {nil, func(d dir) { d[ManifestFile] = &fstest.MapFile{Data: []byte("{")} }, []string{"manifest.json: manifest: "}},
		"signed by others":            {nil, func(d dir) { d[slotFile] = &fstest.MapFile{Data: theirs} }, nil},
		"a slot in place of boot.sig": {nil, func(d dir) { d[card.SigFile] = d[slotFile] }, []string{"boot.sig: it is no boot.sig"}},
		"boot.sig in place of a slot": {nil, func(d dir) { d[slotFile] = d[card.SigFile] }, []string{"slot.img: it is no slot.img"}},
	} {
		x.judge(t, name, sound, c.m)
	}
}

func TestFolderWithCard(t *testing.T) {
	c, sound := newFolder(t, true)
	type dir = fstest.MapFS
	const slotB = card.SlotStart + card.SlotSectors
	for name, x := range map[string]change{
		"published, its key": {&c.key.PublicKey, untouched, nil},
		"another key":        {&c.other.PublicKey, untouched, []string{"boot.sig: ", "sdcard.img: slot A: boot.sig: not signed by this key", "slot.img: "}},
		"no card":            {&c.key.PublicKey, func(d dir) { d[cardFile] = d["licences/go"] }, []string{"sdcard.img: card: not the partition table"}},
		"a byte of the data": {nil, func(d dir) { d[cardFile] = flipped(d[cardFile].Data, len(d[cardFile].Data)-1) }, []string{"sdcard.img: has SHA-256 "}},
		"a byte of slot B":   {&c.key.PublicKey, func(d dir) { d[cardFile] = flipped(d[cardFile].Data, (slotB+card.SlotSectors)*fat.SectorSize-1) }, []string{"sdcard.img: slot B: "}},
	} {
		x.judge(t, name, sound, c.m)
	}
}

// TestOlderManifest: one that was published before it named the list of software and the licences is still one. Of the folder
// it says that it does not know them.
func TestOlderManifest(t *testing.T) {
	c, dir := newFolder(t, false)
	c.m.Files = slices.DeleteFunc(c.m.Files, func(f manifest.File) bool {
		return f.Name == "sbom.spdx.json" || strings.HasPrefix(f.Name, "licences/")
	})
	delete(dir, ManifestFile)
	if name, err := File(bytes.NewReader(image), c.m, nil); err != nil || name != card.BootFile {
		t.Errorf("boot.img: %q, %v", name, err)
	}
	want := []string{"licences: no folder of the build", "sbom.spdx.json: no file of the build"}
	if got, err := Folder(dir, c.m, nil); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// failing has one file or folder that cannot be read.
type failing struct {
	fstest.MapFS
	name string
}

func (f failing) Open(name string) (fs.File, error) {
	if name == f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f.MapFS.Open(name)
}

func (f failing) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f.MapFS.ReadDir(name)
}

func TestFolderThatCannotBeRead(t *testing.T) {
	c, dir := newFolder(t, false)
	for _, name := range []string{"licences/go", ManifestFile, slotFile, "licences", "."} {
		if got, err := Folder(failing{dir, name}, c.m, nil); got != nil || !errors.Is(err, ErrRead) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
