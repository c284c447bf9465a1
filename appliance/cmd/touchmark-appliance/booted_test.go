package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"touchmark/tpm/ledger"
)

// TestBooted: what the first process says on the descriptor is what was booted; nothing and nonsense are nothing.
func TestBooted(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for said, want := range map[string]string{hash + ",-," + hash: hash + ",-," + hash, "": "-,-,-", "nonsense": "-,-,-", hash + "," + hash: "-,-,-"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Dup(int(r.Fd())) // booted closes it
		if err != nil {
			t.Fatal(err)
		}
		booted := (&runFlags{measured: fd}).booted(zerolog.Nop())
		_, err = w.WriteString(said)
		if err != nil || w.Close() != nil || r.Close() != nil {
			t.Fatal(err)
		}
		for range 2 { // a start that failed asks again
			if got := booted().String(); got != want {
				t.Errorf("said %q: %s, want %s", said, got, want)
			}
		}
	}
	if got := (&runFlags{}).booted(zerolog.Nop())(); got != (ledger.Measured{}) {
		t.Errorf("nobody measures: %s", got)
	}
}

// TestOwnMeasured: the keeper is not given the descriptor, the second stage is.
func TestOwnMeasured(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	f := runFlags{measured: int(r.Fd())}
	for _, own := range []bool{true, false} {
		if err := f.ownMeasured(own); err != nil {
			t.Fatal(err)
		}
		flags, err := unix.FcntlInt(r.Fd(), unix.F_GETFD, 0)
		if err != nil || (flags&unix.FD_CLOEXEC != 0) != own {
			t.Errorf("own %t: flags %#x, %v", own, flags, err)
		}
	}
	if err := (&runFlags{measured: 1 << 20}).ownMeasured(true); err == nil {
		t.Error("a descriptor that is none was taken")
	}
}
