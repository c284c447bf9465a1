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

// memoryRows are the resident sets of board (core and link) and daemon, idle with a log of that many signatures: intents
// and outcomes of a log made elsewhere stand in both copies of the world's own, behind what its TPM has taken, and one
// ceremony has the TPM take them.
func memoryRows(ctx context.Context, bin, dir string, log *biglog.Published) (rows []Row, err error) {
	w, err := world.Up(ctx, world.Config{Dir: filepath.Join(dir, "long"), Bin: bin, Touch: "auto", Policy: unlimited})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.StopHostd()
	w.StopAppliance()
	if err := lengthen(log, filepath.Join(w.Board, "log"), filepath.Join(w.Host, "mirror", "mirror")); err != nil {
		return nil, err
	}
	if err := startBoth(ctx, w); err != nil {
		return nil, err
	}
	if err := signOne(ctx, w, filepath.Join(dir, "one")); err != nil {
		return nil, err
	}
	w.StopHostd()
	w.StopAppliance()
	if err := startBoth(ctx, w); err != nil { // as every other start: what took the long log in is not idle yet
		return nil, err
	}
	if _, _, err := w.Views().Wait(ctx, 0, func(v operator.View) bool { return strings.HasPrefix(v.Scrub, "whole") }); err != nil {
		return nil, err
	}
	if err := sleep(ctx, 5*time.Second); err != nil { // what was needed meanwhile goes back to the system
		return nil, err
	}
	for _, p := range []struct {
		name    string
		process *world.Process
		target  float64
	}{{"rss_appliance_mib", w.Appliance(), 32}, {"rss_hostd_mib", w.Hostd(), 48}} {
		rss, err := p.process.RSS()
		if err != nil {
			return nil, err
		}
		row := summary(p.name, "MiB", p.target, []float64{float64(rss) / (1 << 20)})
		row.Size = log.Signatures
		rows = append(rows, row)
	}
	return rows, nil
}

func startBoth(ctx context.Context, w *world.World) error {
	if err := w.StartAppliance(ctx); err != nil {
		return err
	}
	return w.StartHostd(ctx)
}

// signOne is one ceremony, armed at once, and published.
func signOne(ctx context.Context, w *world.World, path string) error {
	if err := makeFile(path, 1000); err != nil {
		return err
	}
	arming, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- armAll(arming, w) }()
	for _, args := range [][]string{{"sign", "--quiet", path}, {"publish"}} {
		r, err := w.Run(ctx, "", "touchmark", args...)
		if err == nil && r.Code != 0 {
			err = fmt.Errorf("touchmark %s: exit code %d: %s", args[0], r.Code, r.Stderr)
		}
		if err != nil {
			return err
		}
	}
	cancel()
	<-failed
	return nil
}

// lengthen appends a log's intents and outcomes to the stores of a board and its mirror.
func lengthen(log *biglog.Published, board, mirror string) (err error) {
	var stores [2]*ledgerstore.Store
	for i, dir := range []string{board, mirror} {
		s, err := ledgerstore.Open(dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		stores[i] = s
	}
	from, to := stores[1].Size(), stores[0].Size()
	for e, err := range stores[0].Entries(from, to) {
		if err == nil {
			err = stores[1].Append([][]byte{e}, nil)
		}
		if err != nil {
			return err
		}
	}
	r, err := newRenumber(stores[0])
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
			if err := both(stores, group); err != nil {
				return err
			}
			group = nil
		}
	}
	return both(stores, append(group, r.statement()))
}

func both(stores [2]*ledgerstore.Store, group [][]byte) error {
	return errors.Join(stores[0].Append(group, nil), stores[1].Append(group, nil))
}

// renumber makes intents and outcomes of one log those of another.
type renumber struct {
	index, sequence, intent uint64
	time                    string
	attest                  []byte // the newest attest entry
}

// newRenumber goes on behind a log in which nothing was signed.
func newRenumber(s *ledgerstore.Store) (*renumber, error) {
	r := &renumber{index: s.Size()}
	for e, err := range s.Backward(s.Size()) {
		if err != nil {
			return nil, err
		}
		h, body, err := ledger.Parse(e)
		if err != nil {
			return nil, err
		}
		if r.time == "" {
			r.time = canon.Time(h.Time)
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
	return fmt.Appendf(nil, "%s\n%s\nindex %d\ntime %s\n%s", lines[0], lines[1], r.index, r.time, lines[4])
}

// next is an entry with another index, time and sequence or intent, which stand in its third, fourth and fifth line; nil
// if it is neither intent nor outcome.
func (r *renumber) next(e []byte) []byte {
	lines := bytes.SplitN(e, []byte("\n"), 6)
	fifth := ""
	switch string(lines[1]) {
	case "kind " + ledger.KindIntent:
		r.sequence++
		r.intent, fifth = r.index, fmt.Sprintf("sequence %d", r.sequence)
	case "kind " + ledger.KindOutcome:
		fifth = fmt.Sprintf("intent %d", r.intent)
	default:
		return nil
	}
	out := fmt.Appendf(nil, "%s\n%s\nindex %d\ntime %s\n%s\n%s", lines[0], lines[1], r.index, r.time, fifth, lines[5])
	r.index++
	return out
}
