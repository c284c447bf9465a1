package hashing

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/message"
)

func must[T any](v T, err error) T { return logtest.Must(v, err) }

// TestChangesWhileHashed: a file that grows behind the back of who hashes it.
func TestChangesWhileHashed(t *testing.T) {
	for _, size := range []int64{100, pipelined} {
		path := filepath.Join(t.TempDir(), "file")
		must(0, os.WriteFile(path, make([]byte, size), 0o600))
		f, st, err := openRegular(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		must(0, os.Truncate(path, size+1))
		if _, err := hashOpen(path, f, st, sigformat.OpenPGPBinary, message.SHA512, new(atomic.Int64)); api.CodeOf(err, api.Usage) != 3 {
			t.Fatalf("a file that changed was hashed: %v", err)
		}
	}
}

// TestHashSizes compares both ways of reading with the plain hash, around
// their boundaries.
func TestHashSizes(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, pipelined - 1, pipelined, pipelined + 1, 3*bigChunk + pipelined} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i * 7)
		}
		path := filepath.Join(dir, strconv.Itoa(size))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var done atomic.Int64
		got := must(Files([]string{path, path}, sigformat.OpenPGPBinary, message.SHA256, &done))
		want := hashstate.New(message.SHA256)
		_, _ = want.Write(data)
		if got[0].State != want.State() || got[1].State != want.State() || done.Load() != 2*int64(size) {
			t.Fatalf("%d bytes hash wrongly", size)
		}
	}
}
