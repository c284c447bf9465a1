package main

import (
	"io"
	"os"
	"sync"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"touchmark/tpm/ledger"
)

// maxMeasured is three hashes in hex and more.
const maxMeasured = 1 << 10

// booted is what was booted. Its first call waits until the first process has said it.
func (f *runFlags) booted(log zerolog.Logger) func() ledger.Measured {
	return sync.OnceValue(func() (m ledger.Measured) {
		if f.measured == 0 {
			return m
		}
		from := os.NewFile(uintptr(f.measured), "measured")
		defer func() { _ = from.Close() }()
		said, err := io.ReadAll(io.LimitReader(from, maxMeasured))
		if err == nil {
			m, err = ledger.ParseMeasured(string(said))
		}
		if err != nil {
			log.Error().Err(err).Msg("what was booted is not known")
		}
		return m
	})
}

// ownMeasured keeps the descriptor from the programs that this one starts, or no longer.
func (f *runFlags) ownMeasured(own bool) error {
	if f.measured == 0 {
		return nil
	}
	flags := 0
	if own {
		flags = unix.FD_CLOEXEC
	}
	_, err := unix.FcntlInt(uintptr(f.measured), unix.F_SETFD, flags)
	return err
}
