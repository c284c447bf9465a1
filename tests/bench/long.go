//go:build emulated

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message/canon"
	"touchmark/tests/biglog"
	"touchmark/tests/world"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/tiles"
)

// memoryRows are the resident sets of an idle daemon, and of an idle board (core and link) with a log of that many
// signatures. The board's is made of intents and outcomes of a log made elsewhere, behind what its TPM has taken; the
// daemon's is that log itself, with no board on its line.
func memoryRows(ctx context.Context, bin, dir string, log *biglog.Published) (rows []Row, err error) {
	w, err := world.Up(ctx, world.Config{Dir: filepath.Join(dir, "long"), Bin: bin, Touch: "auto", Policy: unlimited})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.StopHostd()
	w.StopAppliance()
	if err := lengthen(log, filepath.Join(w.Board, "log"), 0); err != nil {
		return nil, err
	}
	if err := w.StartAppliance(ctx); err != nil {
		return nil, err
	}
	if _, _, err := w.Views().Wait(ctx, 0, func(v operator.View) bool { return strings.HasPrefix(v.Scrub, "whole") }); err != nil {
		return nil, err
	}
	if err := sleep(ctx, settled); err != nil {
		return nil, err
	}
	board, err := w.Appliance().RSS()
	row := summary("rss_appliance_mib", "MiB", 32, []float64{float64(board) / (1 << 20)})
	row.Size = log.Signatures
	if err != nil {
		return nil, err
	}
	hostd, err := hostdMemory(ctx, w, log, dir)
	return []Row{row, hostd}, err
}

// lengthen appends a log's intents and outcomes to a board's store, each intent so much later than the one before.
func lengthen(log *biglog.Published, dir string, apart time.Duration) (err error) {
	store, err := ledgerstore.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	r, err := newRenumber(store, apart)
	if err != nil {
		return err
	}
	published, err := tiles.Open(log.Log)
	if err != nil {
		return err
	}
	var group [][]byte
	for e, err := range published.Entries(0) {
		if err != nil {
			return err
		}
		if e = r.next(e); e != nil {
			group = append(group, e)
		}
		if len(group) == 256 {
			if err := store.Append(group, nil); err != nil {
				return err
			}
			group = nil
		}
	}
	return store.Append(append(group, r.statement()), nil)
}

// renumber makes intents and outcomes of one log those of another.
type renumber struct {
	index, sequence, intent uint64
	time                    time.Time
	apart                   time.Duration
	attest                  []byte // the newest attest entry
}

// newRenumber goes on behind a log in which nothing was signed, or what came from here.
func newRenumber(s *ledgerstore.Store, apart time.Duration) (*renumber, error) {
	r := &renumber{index: s.Size(), sequence: s.Size(), apart: apart}
	for e, err := range s.Backward(s.Size()) {
		if err != nil {
			return nil, err
		}
		h, body, err := ledger.Parse(e)
		if err != nil {
			return nil, err
		}
		if r.time.IsZero() {
			r.time = h.Time
		}
		if _, ok := body.(*ledger.Attest); ok {
			r.attest = e
			return r, nil
		}
	}
	return nil, errors.New("the log has no attestation")
}

// statement is the attestation of the log's newest commit once more. A log has one behind every few entries, and a start
// looks for it from the end.
func (r *renumber) statement() []byte {
	lines := bytes.SplitN(r.attest, []byte("\n"), 5)
	return fmt.Appendf(nil, "%s\n%s\nindex %d\ntime %s\n%s", lines[0], lines[1], r.index, canon.Time(r.time), lines[4])
}

var longAgo = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// next is an entry with another index, time and sequence or intent, which stand in its third, fourth and fifth line; nil
// if it is neither intent nor outcome.
func (r *renumber) next(e []byte) []byte {
	lines := bytes.SplitN(e, []byte("\n"), 6)
	fifth := ""
	switch string(lines[1]) {
	case "kind " + ledger.KindIntent:
		r.sequence++
		r.time = r.time.Add(r.apart)
		r.intent, fifth = r.index, fmt.Sprintf("sequence %d", r.sequence)
	case "kind " + ledger.KindOutcome:
		fifth = fmt.Sprintf("intent %d", r.intent)
	default:
		return nil
	}
	out := fmt.Appendf(nil, "%s\n%s\nindex %d\ntime %s\n%s\n%s", lines[0], lines[1], r.index, canon.Time(r.time), fifth, lines[5])
	if at := bytes.Index(out, []byte("\nnot-after ")); at >= 0 { // long ago, whatever the day, and for each another: it can no more come again
		copy(out[at+len("\nnot-after "):], canon.Time(longAgo.Add(time.Duration(r.sequence)*time.Second)))
	}
	r.index++
	return out
}
