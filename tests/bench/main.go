//go:build emulated

// Command bench measures what docs and design promise, on the real programs over emulated hardware, and writes
// build/bench.json: one object a line, ours and the peer measured alternately in the same run.
//
// The operator of the bench arms and touches at once, so that a row times the machine and not a person. Files are read
// from the page cache, for both sides.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"touchmark/appliance/operator"
	"touchmark/tests/biglog"
	"touchmark/tests/cable"
	"touchmark/tests/pivemu/vpcdtest"
	"touchmark/tests/world"
)

func main() {
	vpcdtest.Main()
	bin := flag.String("bin", "build/bin", "where the programs are")
	out := flag.String("out", "build/bench.json", "where to write the rows")
	quick := flag.Bool("quick", false, "the same rows on smaller work")
	huge := flag.Bool("huge", false, "a log of 10^7 signatures too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, *bin, *out, *quick, *huge); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// size is how much work a run does.
type size struct {
	small int   // rounds of the 100 KiB rows
	large int   // rounds of the 1 GiB rows
	bytes int64 // of the large file
	link  linkSize
}

var sizes = map[bool]size{
	false: {small: 31, large: 5, bytes: 1 << 30, link: linkSizes[false]},
	true:  {small: 11, large: 3, bytes: 1 << 30 / 2, link: linkSizes[true]},
}

// bench is a world with an operator who never sleeps, and files to sign.
type bench struct {
	ctx   context.Context
	w     *world.World
	gpg   *softGPG
	size  size
	small string
	large string
}

func run(ctx context.Context, bin, out string, quick, huge bool) (err error) {
	dir, err := os.MkdirTemp("", "tmb-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := world.Up(ctx, world.Config{Dir: filepath.Join(dir, "w"), Bin: bin, Touch: "auto", Policy: unlimited})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(armAll(ctx, w)) }()
	gpg, err := newSoftGPG(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gpg.Close()) }()
	b := &bench{ctx: ctx, w: w, gpg: gpg, size: sizes[quick], small: filepath.Join(dir, "small"), large: filepath.Join(dir, "large")}
	rows, err := b.rows()
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	links, err := linkRows(ctx, dir, quick)
	if err != nil {
		return err
	}
	rows = append(rows, links...)
	logs := filepath.Join(filepath.Dir(out), "biglog")
	audits, err := auditRows(ctx, bin, logs, quick, huge)
	if err != nil {
		return err
	}
	longest, err := biglog.Cached(logs, longest(quick))
	if err != nil {
		return err
	}
	rss, err := memoryRows(ctx, bin, dir, longest)
	if err != nil {
		return err
	}
	rows = slices.Concat(rows, audits, rss)
	for i := range rows {
		rows[i].Quick = quick
	}
	return report(out, rows)
}

// unlimited lifts the rates of the demo's policy: the bench signs more often than people do.
func unlimited(policy string) string { return strings.ReplaceAll(policy, "600/1h", "1000000/1h") }

// armAll arms whatever the board shows; the emulated token touches itself.
func armAll(ctx context.Context, w *world.World) error {
	armed := ""
	for mark := 0; ; {
		v, next, err := w.Views().Wait(ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm && v.Job.ID != armed })
		if err != nil {
			return err
		}
		mark, armed = next, v.Job.ID
		if err := w.Operator("arm " + armed); err != nil {
			return err
		}
	}
}

func (b *bench) rows() ([]Row, error) {
	if err := errors.Join(makeFile(b.small, 100<<10), makeFile(b.large, b.size.bytes)); err != nil {
		return nil, err
	}
	idle, err := b.idle()
	if err != nil {
		return nil, err
	}
	wire, err := b.wire()
	if err != nil {
		return nil, err
	}
	timed, err := b.times()
	if err != nil {
		return nil, err
	}
	ceremonies, err := b.ceremonyRows()
	if err != nil {
		return nil, err
	}
	tools, err := b.toolRows()
	return slices.Concat(timed, tools, ceremonies, wire, []Row{idle}), err
}

func (b *bench) times() (rows []Row, err error) {
	label := func(format string) string { return fmt.Sprintf(format, b.size.bytes>>20) }
	gpg := func(path string) timed { return stopwatch(func() error { return b.gpg.Sign(b.ctx, path) }) }
	for _, c := range []struct {
		name, peer string
		target     float64
		n          int
		ours, them timed
	}{
		{"sign_small_vs_gpg", "gpg --detach-sign, software P-256, 100 KiB", 1.5, b.size.small, b.sign(b.small), gpg(b.small)},
		{"sign_1gib_vs_hash", label("Go SHA-256 over %d MiB"), 1.05, b.size.large, b.sign(b.large), stopwatch(func() error { return hashFile(b.large) })},
		{"sign_1gib_vs_gpg", label("gpg --detach-sign, software P-256, %d MiB"), 0.55, b.size.large, b.sign(b.large), gpg(b.large)},
	} {
		row, err := compare(c.name, c.peer, c.target, c.n, c.ours, c.them)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// sign is the whole process: hash, ask, arm, commit, touch, verify, write.
func (b *bench) sign(path string) timed {
	return stopwatch(func() error {
		r, err := b.w.Run(b.ctx, "", "touchmark", "sign", "--quiet", path)
		if err == nil && r.Code != 0 {
			err = fmt.Errorf("touchmark sign: exit code %d: %s", r.Code, r.Stderr)
		}
		return err
	})
}

// wire counts what one single-item ceremony puts on the cable, from the request to the published outcome, and how long
// the line is busy with it at 115200 baud: start and stop bits included, and time in which both directions send counted
// once. The pauses in between are those of people and machines and are not line time.
func (b *bench) wire() ([]Row, error) {
	const rounds = 5
	var up, down, busy []float64
	b.w.Cable.Throttle(115200)
	defer b.w.Cable.Throttle(0)
	for range rounds {
		b.w.Cable.Forget()
		if _, err := b.sign(b.small)(); err != nil {
			return nil, err
		}
		if _, err := b.w.Run(b.ctx, "", "touchmark", "publish"); err != nil {
			return nil, err
		}
		up = append(up, float64(b.w.Cable.Count(cable.Up)))
		down = append(down, float64(b.w.Cable.Count(cable.Down)))
		busy = append(busy, ms(b.w.Cable.Busy()))
	}
	return []Row{summary("wire_up_bytes", "B", 1024, up), summary("wire_down_bytes", "B", 2560, down), summary("wire_115200_ms", "ms", 300, busy)}, nil
}

// report writes the rows for programs and prints them for people.
func report(path string, rows []Row) error {
	var text strings.Builder
	if err := write(&text, rows); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	table(os.Stdout, rows)
	return os.WriteFile(path, []byte(text.String()), 0o644)
}
