//go:build emulated

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/verify"
	"touchmark/tests/biglog"
	"touchmark/tests/world"
)

// hostState is a daemon's state directory with a long log as its mirror. The entries are those of the board's store, whose
// plans a mirror has no use for, and are not copied.
func hostState(dir string, log *biglog.Published) error {
	store, err := log.Board()
	if err != nil {
		return err
	}
	note, err := os.ReadFile(filepath.Join(log.Log, "checkpoint"))
	if err != nil {
		return err
	}
	if store, err = filepath.Abs(store); err != nil {
		return err
	}
	return errors.Join(os.Mkdir(dir, 0o755), os.Symlink(store, filepath.Join(dir, "mirror")), os.WriteFile(filepath.Join(dir, "checkpoint"), note, 0o644))
}

// mirrorRow is what a daemon needs at its start until it knows what its mirror holds: the store is opened, the checkpoint
// verified and held against the entries, the administrators' entries read. The files are in the page cache.
func mirrorRow(name string, log *biglog.Published) (row Row, err error) {
	temp, err := os.MkdirTemp("", "tmb-")
	if err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	state := filepath.Join(temp, "state")
	if err := hostState(state, log); err != nil {
		return Row{}, err
	}
	text, err := os.ReadFile(filepath.Join(log.Trust, "trust"))
	if err != nil {
		return Row{}, err
	}
	trust, err := verify.ParseTrust(text)
	if err != nil {
		return Row{}, err
	}
	var took []float64
	for range 11 {
		var m *mirror.Mirror
		d, err := stopwatch(func() (err error) { m, err = mirror.Open(state, trust); return err })()
		if err != nil {
			return Row{}, err
		}
		if m.Committed() != log.Size {
			err = fmt.Errorf("the mirror knows %d of %d entries", m.Committed(), log.Size)
		}
		if err = errors.Join(err, m.Store.Close()); err != nil {
			return Row{}, err
		}
		took = append(took, ms(d))
	}
	return summary(name, "ms", 200, took), nil
}

// hostdMemory is the resident set of an idle daemon whose mirror is that log.
func hostdMemory(ctx context.Context, w *world.World, log *biglog.Published, dir string) (Row, error) {
	state := filepath.Join(dir, "longstate")
	if err := hostState(state, log); err != nil {
		return Row{}, err
	}
	trust, err := filepath.Abs(log.Trust)
	if err != nil {
		return Row{}, err
	}
	config := filepath.Join(dir, "long.toml")
	text := fmt.Sprintf("device = %q\nstate = %q\ntrust = %q\nkey = %q\nsocket = %q\n", w.Cable.HostPath(), state, trust, w.Key("repo1"), w.Socket)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return Row{}, err
	}
	if err := w.RunHostd(ctx, config); err != nil {
		return Row{}, err
	}
	defer w.StopHostd()
	if err := sleep(ctx, settled); err != nil {
		return Row{}, err
	}
	bytes, err := w.Hostd().RSS()
	row := summary("rss_hostd_mib", "MiB", 48, []float64{float64(bytes) / (1 << 20)})
	row.Size = log.Signatures
	return row, err
}

// settled is how long a program is left alone, so that what its start needed goes back to the system.
const settled = 5 * time.Second
