//go:build emulated

package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for want, in := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 3, 2}, 7: {7}} {
		if got := median(in); got != want {
			t.Errorf("median(%v) = %v, want %v", in, got, want)
		}
	}
}

func TestCompareAlternatesAndDropsTheFirstRound(t *testing.T) {
	var order strings.Builder
	run := func(mark byte, times ...time.Duration) timed {
		return func() (time.Duration, error) {
			order.WriteByte(mark)
			d := times[0]
			times = times[1:]
			return d, nil
		}
	}
	row, err := compare("x", "peer", 1, 3, run('o', time.Hour, 2*time.Millisecond, 4*time.Millisecond, 3*time.Millisecond), run('p', time.Hour, time.Millisecond, time.Millisecond, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if order.String() != "opopopop" {
		t.Errorf("order %s", order.String())
	}
	if row.Ours != 3 || *row.Peer != 1 || *row.Ratio != 3 || row.N != 3 || row.Min != 2 || row.Max != 4 || row.Met() {
		t.Errorf("row %+v", row)
	}
}

func TestCompareReportsWhoFailed(t *testing.T) {
	good := func() (time.Duration, error) { return 1, nil }
	bad := func() (time.Duration, error) { return 0, errors.New("no") }
	if _, err := compare("x", "peer", 1, 1, good, bad); err == nil || err.Error() != "x: peer: no" {
		t.Errorf("got %v", err)
	}
}

func TestRowWithoutPeerHasNull(t *testing.T) {
	var b bytes.Buffer
	if err := write(&b, []Row{summary("rss", "MiB", 32, []float64{10})}); err != nil {
		t.Fatal(err)
	}
	want := `{"name":"rss","ours":10,"peer":null,"peer_name":"","unit":"MiB","ratio":null,"target":32,"quick":false,"n":1,"min":10,"max":10}` + "\n"
	if b.String() != want {
		t.Errorf("got %s", b.String())
	}
}

func TestMetFromBelowWhereMoreIsBetter(t *testing.T) {
	for value, want := range map[float64]bool{0.91: false, 0.92: true, 1: true} {
		if row := atLeast("eff", "line", 0.92, value*100, 100); row.Met() != want {
			t.Errorf("%v of the line: met is %v", value, row.Met())
		}
		if row := summary("rss", "MiB", 0.92, []float64{value}); row.Met() != (value <= 0.92) {
			t.Errorf("%v: met is %v", value, row.Met())
		}
	}
}

// TestWanted: what takes minutes is measured only by its name.
func TestWanted(t *testing.T) {
	for only, want := range map[string]string{"": "audit image", "image": "image", "image-cold": "image-cold", "image,image-test": "image image-test"} {
		var names []string
		if only != "" {
			names = strings.Split(only, ",")
		}
		var got []string
		for _, g := range []group{{name: "audit"}, {name: "image"}, {name: "image-cold", named: true}, {name: "image-test", named: true}} {
			if g.wanted(names) {
				got = append(got, g.name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("of %q: %q", only, got)
		}
	}
}
