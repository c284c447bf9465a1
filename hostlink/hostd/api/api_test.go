package api

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	var b bytes.Buffer
	l := NewLines(&b)
	long := strings.Repeat("x", 100_000)
	for _, s := range []string{"one", long} {
		if err := l.Write(&Response{Error: s}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"one", long} {
		var r Response
		if err := l.Read(&r); err != nil || r.Error != want {
			t.Fatalf("read %d bytes, %v", len(r.Error), err)
		}
	}
	if err := l.Read(new(Response)); !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %v", err)
	}
}

func TestLinesHostile(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON": "hello\n", "too long": strings.Repeat("x", MaxLine+1), "wrong type": "{\"op\":1}\n",
	} {
		b := bytes.NewBufferString(text)
		if err := NewLines(b).Read(new(Request)); !errors.Is(err, ErrLine) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadSmall(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadSmall(path, 5); err != nil || string(b) != "12345" {
		t.Fatalf("%q, %v", b, err)
	}
	for what, err := range map[string]error{
		"longer than 4 bytes": second(ReadSmall(path, 4)), "not a regular file": second(ReadSmall(dir, 9)),
		"does not exist": second(ReadSmall(path+"x", 9)), "is not a private note key": second(ReadKey(path)),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestPrintable: names that others chose do nothing to the terminal of who reads them.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"päckchen 'a'\tb\nc":   "päckchen 'a'\tb\nc",
		"\x1b[2J\r\x00\u202eb": `\x1b[2J\r\x00\u202eb`,
		"\x9b\u009b'":          "\ufffd\\u009b'",
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
