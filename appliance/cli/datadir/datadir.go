// Package datadir opens what a board runs on: its data directory, as far as that can be
// opened, and its TPM, once that answers.
package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/enrol/progress"
	"touchmark/appliance/enrol/stopped"
	"touchmark/appliance/station"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/quote"
)

// genesisFile is a copy of the log's first entry, beside the log: what the board
// still knows of a log that is gone (docs/spec/anchor.md section 5).
const genesisFile = "genesis"

// Board is a data directory as far as it can be opened. What cannot be halts
// the board, which then says so on its display and to its host.
type Board struct {
	disk    durable.Disk
	store   *ledgerstore.Store // nil if it cannot be opened; to be read only where its disk takes no writes
	genesis []byte
	keys    logkey.Ring
	fault   error
}

// Open opens a data directory. An error means that there is nothing here
// that a board could run on, or that another one does.
func Open(dir string) (*Board, error) { return openOn(durable.OS, dir) }

func openOn(disk durable.Disk, dir string) (*Board, error) {
	b := &Board{disk: disk}
	var err error
	if _, err = disk.List(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.halt(recovery.LogUnreadable, err) // whatever is in it, nobody can tell
	}
	if b.genesis, err = durable.ReadFile(disk, filepath.Join(dir, genesisFile), ledger.MaxEntry); err != nil {
		b.genesis = nil // it matters only where the log is lost, and then there is none
	}
	if _, err := progress.Read(dir); !errors.Is(err, os.ErrNotExist) {
		b.halt(recovery.NotEnrolled, err) // a ceremony is under way
	}
	b.keys = logkey.Ring{Dir: dir}
	_, err = logkey.Read(dir)
	switch {
	case b.fault != nil || b.keys.Origin() != "":
	case err != nil && b.genesis == nil && noFile(stopped.LogDir(dir)):
		return nil, fmt.Errorf("%w: %w", cli.ErrEnrolment, err)
	case err != nil:
		b.halt(recovery.LogKeyWrong, err)
	}
	return b, b.openLog(dir)
}

func noFile(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// halt notes the first thing that is wrong.
func (b *Board) halt(h recovery.Halt, why error) {
	if b.fault == nil {
		b.fault = fault.Halted(h, why)
	}
}

// openLog opens the log, or begins an empty one where a whole log was lost, which
// then comes back from a mirror. One that can only be read is read, for hosts that fetch it.
func (b *Board) openLog(dir string) (err error) {
	log := stopped.LogDir(dir)
	o := ledgerstore.Options{Disk: b.disk}
	b.store, err = o.Open(log)
	if errors.Is(err, ledgerstore.ErrNoStore) && b.genesis != nil {
		b.store, err = o.Create(log)
	}
	var locked *durable.LockedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &locked):
		return err
	}
	halt := unopened(err)
	if halt == recovery.LogUnwritable || halt == recovery.LogUnreadable {
		o.ReadOnly = true
		s, rerr := o.Open(log)
		var corrupt *ledgerstore.CorruptError
		switch {
		case rerr == nil:
			b.store, halt = s, recovery.LogUnwritable
		case errors.As(rerr, &corrupt):
			halt, err = recovery.LogDamaged, errors.Join(rerr, err)
		}
	}
	b.halt(halt, err)
	return nil
}

// unopened is the halt state of a log that could not be opened.
func unopened(err error) recovery.Halt {
	var corrupt *ledgerstore.CorruptError
	switch {
	case errors.Is(err, ledgerstore.ErrNoStore):
		return recovery.NotEnrolled
	case errors.As(err, &corrupt):
		return recovery.LogDamaged
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOSPC): // it is opened to be written, and is as it was
		return recovery.LogUnwritable
	}
	return recovery.LogUnreadable
}

// log is what the station is given for a log.
func (b *Board) log() past.Log {
	if b.store == nil {
		return past.Absent{Err: b.fault}
	}
	return b.store
}

// Config is what a station needs of the directory.
func (b *Board) Config() station.Config {
	return station.Config{Store: b.log(), Genesis: b.genesis, Fault: b.fault, LogKeys: b.keys}
}

// Tidy removes what a process that died has left, and keeps the copy of the
// genesis entry. Neither is worth stopping for.
func (b *Board) Tidy(log zerolog.Logger, dir, runDir string) {
	for _, d := range []string{dir, stopped.LogDir(dir), runDir} {
		if err := durable.Sweep(durable.OS, d); err != nil {
			log.Warn().Err(err).Msg("removing what an earlier run has left")
		}
	}
	if b.store == nil || b.genesis != nil || b.store.Size() == 0 {
		return
	}
	raw, err := b.store.Entry(0)
	if err == nil {
		err = durable.WriteFile(filepath.Join(dir, genesisFile), raw, 0o600)
	}
	if err != nil {
		log.Warn().Err(err).Msg("keeping a copy of the genesis entry")
	}
}

// Close closes the log.
func (b *Board) Close() {
	if b.store != nil {
		_ = b.store.Close()
	}
}

// LateTPM is a TPM that is opened when it is first asked, again after each
// failure: a board whose TPM is not there says so, and goes on when it is.
type LateTPM struct {
	Spec string // as --tpm names it

	mu  sync.Mutex // guards what follows
	tpm *device.TPM
}

// Open opens it, if it is not open.
func (l *LateTPM) Open() (*device.TPM, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tpm != nil {
		return l.tpm, nil
	}
	t, err := cli.OpenTPM(l.Spec)
	if err == nil {
		l.tpm = t
	}
	return t, err
}

// Close closes it, if it is open.
func (l *LateTPM) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tpm != nil {
		_ = l.tpm.Close()
	}
}

func ask[T any](l *LateTPM, f func(*device.TPM) (T, error)) (T, error) {
	t, err := l.Open()
	if err != nil {
		var none T
		return none, err
	}
	return f(t)
}

// Head reads HEAD.
func (l *LateTPM) Head() ([32]byte, error) { return ask(l, (*device.TPM).Head) }

// PCR reads the PCR.
func (l *LateTPM) PCR() ([32]byte, error) { return ask(l, (*device.TPM).PCR) }

// ExtendHead is NV_Extend.
func (l *LateTPM) ExtendHead(x [32]byte) error {
	t, err := l.Open()
	if err != nil {
		return err
	}
	return t.ExtendHead(x)
}

// ExtendPCR is PCR_Extend.
func (l *LateTPM) ExtendPCR(x [32]byte) error {
	t, err := l.Open()
	if err != nil {
		return err
	}
	return t.ExtendPCR(x)
}

// CertifyHead is NV_Certify.
func (l *LateTPM) CertifyHead(extra [32]byte) (quote.Attestation, error) {
	return ask(l, func(t *device.TPM) (quote.Attestation, error) { return t.CertifyHead(extra) })
}

// QuotePCR is Quote.
func (l *LateTPM) QuotePCR(extra [32]byte) (quote.Attestation, error) {
	return ask(l, func(t *device.TPM) (quote.Attestation, error) { return t.QuotePCR(extra) })
}

// LockPlatform is HierarchyChangeAuth of the platform.
func (l *LateTPM) LockPlatform() error {
	t, err := l.Open()
	if err != nil {
		return err
	}
	return t.LockPlatform()
}

// Floor reads the counter of image serials.
func (l *LateTPM) Floor() (uint64, error) { return ask(l, (*device.TPM).Floor) }

// RaiseFloor raises it.
func (l *LateTPM) RaiseFloor(to uint64) error {
	t, err := l.Open()
	if err != nil {
		return err
	}
	return t.RaiseFloor(to)
}
