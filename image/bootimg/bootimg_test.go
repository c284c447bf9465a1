package bootimg

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/image/board"
	"touchmark/image/card"
	"touchmark/image/fat"
)

var date = time.Date(2026, 11, 16, 10, 17, 0, 0, time.UTC)

// files are the least that a boot.img has.
func files() []fat.File {
	return []fat.File{{Name: board.ConfigFile, Content: []byte("c")}, {Name: board.CommandLineFile, Content: []byte("quiet touchmark.board=cm4 touchmark.of=later\n")},
		{Name: board.KernelFile, Content: bytes.Repeat([]byte("k"), 5<<20)}, {Name: board.InitramfsFile, Content: []byte("i")}}
}

func made(t *testing.T, f []fat.File) []byte {
	t.Helper()
	b, err := Make(f, date)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMake(t *testing.T) {
	b := made(t, files())
	if len(b) != 6<<20 {
		t.Errorf("5 MiB of files make %d bytes", len(b))
	}
	content, i, err := Read(bytes.NewReader(b))
	if err != nil || !bytes.Equal(content, b) || !i.Date.Equal(date) || i.Board != "cm4" || len(i.Files) != 4 {
		t.Errorf("%v: %s %s %d", err, i.Date, i.Board, len(i.Files))
	}
	if _, ok := i.File("none"); ok {
		t.Error("it has a file named none")
	}
	if _, err := Make([]fat.File{{Name: board.KernelFile, Content: make([]byte, MaxBytes)}}, date); err == nil || !strings.Contains(err.Error(), "would have more") {
		t.Error(err)
	}
	if _, err := Make([]fat.File{{Name: "a long name", Content: nil}}, date); err == nil {
		t.Error("a name that cannot be was taken")
	}
}

func TestParseRefuses(t *testing.T) {
	whole := made(t, files())
	volume := func(label string, id uint32) []byte {
		b, err := fat.Volume{Label: label, ID: id, Sectors: 12288, Date: date, Files: files()}.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bit := bytes.Clone(whole)
	bit[len(bit)-1] ^= 1
	cases := map[string][]byte{"nothing": nil, "text": []byte("an e-mail"), "a bit": bit, "cut": whole[:len(whole)-512], "more": append(bytes.Clone(whole), 0),
		"a slot": volume("TM-SLOT", card.Signature), "another number": volume("TM-BOOT", 1)}
	for _, name := range needed {
		cases["no "+name] = made(t, slices.DeleteFunc(files(), func(f fat.File) bool { return f.Name == name }))
		empty := files()
		empty[slices.IndexFunc(empty, func(f fat.File) bool { return f.Name == name })].Content = nil
		cases["empty "+name] = made(t, empty)
	}
	for name, b := range cases {
		if _, err := Parse(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReadIsBounded: of what has no end no more is read than a boot.img may have.
func TestReadIsBounded(t *testing.T) {
	if _, _, err := Read(endless{}); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "at most 16777216") {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
