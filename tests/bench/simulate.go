//go:build emulated

package main

import (
	"errors"
	"os"
	"path/filepath"

	"touchmark/hostlink/message"
	"touchmark/tests/biglog"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// simulate is what administrators wait for before they sign a policy: every job of a long log held against one, here the
// log's own, as a process; and the memory that takes.
func (b *auditBench) simulate(size string, log *biglog.Published) ([]Row, error) {
	text, err := policyOf(log)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tmb-")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "policy.toml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	u, err := b.run("touchmark-appliance-emulated", "policy", "simulate", path, log.Log)
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		return nil, err
	}
	return []Row{
		summary("simulate_"+size+"_ms", "ms", 60_000, []float64{ms(u.took)}),
		summary("simulate_"+size+"_rss_mib", "MiB", 96, []float64{float64(u.kib) / 1024}),
	}, nil
}

// policyOf is the policy that a log began with, as its administrators wrote it.
func policyOf(log *biglog.Published) ([]byte, error) {
	published, err := tiles.Open(log.Log)
	if err != nil {
		return nil, err
	}
	for raw, err := range published.Entries(0) {
		if err != nil {
			return nil, err
		}
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return nil, err
		}
		return message.NoteText(body.(*ledger.Genesis).Policy)
	}
	return nil, errors.New("the log is empty")
}
