//go:build emulated

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/appliance/station/chain"
	"touchmark/tests/biglog"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// boardRows measures what a long log costs the board: one start, and one admission against all that was ever signed.
func boardRows(name string, log *biglog.Published) ([]Row, error) {
	dir, err := log.Board()
	if err != nil {
		return nil, err
	}
	start, err := startRow("start_"+name+"_ms", dir)
	if err != nil {
		return nil, err
	}
	admit, err := admitRow("policy_admit_"+name+"_us", dir)
	return []Row{start, admit}, err
}

// startRow is what a start costs before the TPM is asked: the store is opened, and the past, which with this log's
// policy is its last 30 days, is read and the newest checkpoint signed. The files are in the page cache.
func startRow(name, dir string) (Row, error) {
	key, err := biglog.LogKey()
	if err != nil {
		return Row{}, err
	}
	now, err := lastTime(dir)
	if err != nil {
		return Row{}, err
	}
	var took []float64
	for range 11 {
		var store *ledgerstore.Store
		d, err := stopwatch(func() (err error) {
			if store, err = ledgerstore.Open(dir); err != nil {
				return err
			}
			c := chain.New(chain.Config{Store: store, Key: func(string) (note.Signer, error) { return key, nil }, Log: zerolog.Nop()})
			if err := c.Load(now); err != nil {
				return err
			}
			if c.Past.Whole {
				return errors.New("the start read everything")
			}
			return nil
		})()
		if store != nil {
			err = errors.Join(err, store.Close())
		}
		if err != nil {
			return Row{}, err
		}
		took = append(took, ms(d))
	}
	return summary(name, "ms", 100, took), nil
}

// lastTime is that of a log's newest entry.
func lastTime(dir string) (t time.Time, err error) {
	store, err := ledgerstore.Open(dir)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	raw, err := store.Entry(store.Size() - 1)
	if err != nil {
		return t, err
	}
	h, _, err := ledger.Parse(raw)
	return h.Time, err
}

// admitRow is one decision about the log's newest request, of three rates, with every item of the log remembered: those
// outside the rates' windows too.
func admitRow(name, dir string) (Row, error) {
	const each = 200 // a single one is too short for a clock
	store, err := ledgerstore.Open(dir)
	if err != nil {
		return Row{}, err
	}
	past, r, at, err := remembered(store)
	if err := errors.Join(err, store.Close()); err != nil {
		return Row{}, err
	}
	var took []float64
	for range 31 {
		d, err := stopwatch(func() error {
			for range each {
				if _, err := r.policy.Admit(r.Request, past, at); err != nil {
					return err
				}
			}
			return nil
		})()
		if err != nil {
			return Row{}, fmt.Errorf("the log's newest request: %w", err)
		}
		took = append(took, ms(d)*1000/each)
	}
	return summary(name, "us", 100, took), nil
}

// request is an authentic one and the policy that it is judged by.
type request struct {
	*policy.Request
	policy *policy.Policy
}

// remembered counts all that a log says was signed; the request is its newest, asked again a minute later.
func remembered(store *ledgerstore.Store) (*policy.History, *request, time.Time, error) {
	h, open := policy.NewHistory(), ledgerstore.Job{}
	for j, err := range store.Jobs(0) {
		if err != nil {
			return nil, nil, time.Time{}, err
		}
		if j.Outcome && j.Intent == open.Index {
			h.Add("packages", open.Time, j.Items)
		} else {
			open = j
		}
	}
	r, err := requested(store, open.Index)
	return h, r, open.Time.Add(time.Minute), err
}

func requested(store *ledgerstore.Store, intent uint64) (*request, error) {
	var bodies [2]any
	for i, index := range []uint64{0, intent} {
		raw, err := store.Entry(index)
		if err == nil {
			_, bodies[i], err = ledger.Parse(raw)
		}
		if err != nil {
			return nil, err
		}
	}
	g, in := bodies[0].(*ledger.Genesis), bodies[1].(*ledger.Intent)
	p, err := policy.Open(g.Policy)
	if err != nil {
		return nil, err
	}
	r, err := p.Authenticate(in.Approval, in.Submission)
	return &request{r, p}, err
}
