package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os"
	"testing"

	"touchmark/hostlink/frame"
	"touchmark/tests/cable"
	"touchmark/tests/world"
)

// window is how many bytes of a file in a row count as that file on the wire: eight random bytes do not occur by chance.
const window = 8

// TestNoFileByteCrossesTheWire records everything that goes up the cable while files are signed whose unhashed tail is as
// long as it can be, and looks for the files in it: raw, in base64 and in hex, frame by frame and in the raw stream.
func TestNoFileByteCrossesTheWire(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	for _, c := range []struct {
		alg  string
		size int
		tail int // bytes of the last, unfinished block: these do cross
	}{
		{"sha256", 64*1000 + 63, 63},
		{"sha512", 128*1000 + 127, 127},
		{"sha512", 128 * 500, 0},
	} {
		path := r.file("secret.bin", c.size)
		data := withoutZeros(t, path)
		r.Cable.Forget()
		r.sign([]string{"--hash", c.alg}, path)
		secret, tail := data[:c.size-c.tail], data[c.size-c.tail:]
		for name, seen := range views(t, r.Cable.Recorded(cable.Up)) {
			if at := occurs(seen, secret); at >= 0 {
				t.Errorf("%s, %d bytes: bytes %d… of the file crossed the wire (%s)", c.alg, c.size, at, name)
			}
			if c.tail > 0 && name == "payloads" && occurs(seen, tail) < 0 {
				t.Errorf("%s: the tail is not found: this test does not see what crosses", c.alg)
			}
		}
	}
}

// TestWireDoesNotGrowWithTheFile signs a small and a large file with names and block remainders alike: the same number of
// bytes must cross, but for the digits of the size and the keep-alives of a longer wait.
func TestWireDoesNotGrowWithTheFile(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	count := func(name string, size int) uint64 {
		f := r.file(name, size)
		r.Cable.Forget()
		r.sign(nil, f)
		return r.Cable.Count(cable.Up)
	}
	count("warm.bin", 64)
	small, large := count("small.bin", 64), count("large.bin", 64<<20)
	const slack = 256
	for range 4 { // what a busy machine acknowledges late is sent again
		if large > small+slack {
			large = count("large.bin", 64<<20)
		}
	}
	if large > small+slack {
		t.Errorf("64 bytes take %d bytes on the wire, 64 MiB take %d", small, large)
	}
}

// withoutZeros refills a file with random bytes none of which is 0: COBS passes those on as they are, so that the raw
// stream can be searched too.
func withoutZeros(t *testing.T, path string) []byte {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, st.Size())
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = max(b[i], 1)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// views are the ways in which the recorded bytes are looked at.
func views(t *testing.T, raw []byte) map[string][]byte {
	t.Helper()
	var payloads []byte
	var decoder frame.Decoder
	for rest := raw; len(rest) > 0; {
		f, n, ok := decoder.Feed(rest)
		if ok {
			payloads = append(payloads, f.Payload...)
		}
		rest = rest[n:]
	}
	if len(payloads) == 0 {
		t.Fatalf("%d bytes recorded, but no payload in them", len(raw))
	}
	return map[string][]byte{"raw": raw, "payloads": payloads}
}

// occurs looks for any window of data, as it is or encoded, and returns where in data the first found begins, or -1.
func occurs(seen, data []byte) int {
	grams := map[string]bool{}
	for i := 0; i+window <= len(seen); i++ {
		grams[string(seen[i:i+window])] = true
	}
	for i := 0; i+window <= len(data); i++ {
		if grams[string(data[i:i+window])] {
			return i
		}
	}
	return occursEncoded(grams, data)
}

// occursEncoded looks for the data in base64, at each of its three alignments, and in hex.
func occursEncoded(grams map[string]bool, data []byte) int {
	for shift := range min(3, len(data)) {
		for _, text := range []string{base64.StdEncoding.EncodeToString(data[shift:]), hex.EncodeToString(data[shift:])} {
			// The last quantum of base64 depends on what follows; only whole windows before it count.
			for i := 0; i+window <= len(text)-4; i += 4 {
				if grams[text[i:i+window]] {
					return shift
				}
			}
		}
	}
	return -1
}
