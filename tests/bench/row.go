//go:build emulated

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Row is one line of build/bench.json. Ours and Peer are medians in Unit; Ratio is ours / peer, or ours / target where
// there is no peer but a bound. A row without a peer has Peer null.
type Row struct {
	Name     string   `json:"name"`
	Ours     float64  `json:"ours"`
	Peer     *float64 `json:"peer"`
	PeerName string   `json:"peer_name"`
	Unit     string   `json:"unit"`
	Ratio    *float64 `json:"ratio"`
	Target   float64  `json:"target"`
	Quick    bool     `json:"quick"`
	N        int      `json:"n"`
	Min      float64  `json:"min"` // of ours
	Max      float64  `json:"max"` // of ours
	// Size is how many signatures the log has that a row is about, 0 for other rows: a quick run has the same rows on
	// smaller logs.
	Size int `json:"size,omitempty"`

	atLeast bool // the target is what to reach, not what to stay below
}

// Met says whether the row reaches its target, from above or, where more is better, from below: the ratio where there is a peer, the value itself where there is none.
func (r Row) Met() bool {
	value := r.Ours
	if r.Ratio != nil {
		value = *r.Ratio
	}
	if r.atLeast {
		return value >= r.Target
	}
	return value <= r.Target
}

// seconds is what a run took, or an error.
type timed func() (time.Duration, error)

// stopwatch measures one call.
func stopwatch(f func() error) timed {
	return func() (time.Duration, error) {
		begin := time.Now()
		err := f()
		return time.Since(begin), err
	}
}

// compare runs ours and peer alternately n times after one unmeasured round each, so that both see the same machine in
// the same minute with the same caches.
func compare(name, peerName string, target float64, n int, ours, peer timed) (Row, error) {
	var a, b []float64
	for i := range n + 1 {
		da, err := ours()
		if err != nil {
			return Row{}, fmt.Errorf("%s: ours: %w", name, err)
		}
		db, err := peer()
		if err != nil {
			return Row{}, fmt.Errorf("%s: %s: %w", name, peerName, err)
		}
		if i > 0 {
			a, b = append(a, ms(da)), append(b, ms(db))
		}
	}
	return against(summary(name, "ms", target, a), peerName, b), nil
}

// against adds a peer's measurements to a row.
func against(row Row, peerName string, values []float64) Row {
	p := median(values)
	ratio := row.Ours / p
	row.Peer, row.PeerName, row.Ratio = &p, peerName, &ratio
	return row
}

// summary makes a row without a peer from its measurements.
func summary(name, unit string, target float64, values []float64) Row {
	return Row{Name: name, Ours: median(values), Unit: unit, Target: target, N: len(values), Min: slices.Min(values), Max: slices.Max(values)}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

// write prints one JSON object a line.
func write(w io.Writer, rows []Row) error {
	var errs []error
	enc := json.NewEncoder(w)
	for _, r := range rows {
		errs = append(errs, enc.Encode(r))
	}
	return errors.Join(errs...)
}

// table prints the rows for people.
func table(w io.Writer, rows []Row) {
	fmt.Fprintf(w, "%-24s %12s %12s %8s %8s  %s\n", "row", "ours", "peer", "ratio", "target", "")
	for _, r := range rows {
		peer, ratio, verdict := "-", "-", "met"
		if r.Peer != nil {
			peer, ratio = fmt.Sprintf("%.1f", *r.Peer), fmt.Sprintf("%.3f", *r.Ratio)
		}
		if !r.Met() {
			verdict = "MISSED"
		}
		if r.Size > 0 {
			verdict += fmt.Sprintf(", log of %d signatures", r.Size)
		}
		fmt.Fprintf(w, "%-24s %9.4g %-3s %11s %8s %8.4g  %s\n", r.Name, r.Ours, r.Unit, peer, ratio, r.Target, verdict)
	}
}
