//go:build emulated

// Command bench measures what docs and design promise, on the real programs over emulated hardware, and writes
// build/bench.json: one object a line, ours and the peer measured alternately in the same run.
//
// The operator of the bench arms and touches at once, so that a row times the machine and not a person. Files are read
// from the page cache, for both sides. Board, host, cable, TPM, token and operator are seven processes on one machine and
// one disk: where it has less than four processors, or other work, they wait for each other, and ceremony_vs_parts and the
// sign_small rows show that more than anything else. A ceremony costs about 9 ms of processors, a third of them the
// emulated TPM's, token's, cable's and display's; its parts, one after the other, leave one processor idle.
//
// Where a ceremony's time goes, about, of one that takes 7.2 ms on two processors (timestamps written by all programs,
// medians of 140, the machine not quiet; µs; the parts that wait for nobody else are marked *):
//
//	 430  client to daemon, request read, written down (130), submission signed
//	 280  over the line to the board's core: cable, link process, keeper
//	 240  submission verified (150), policy asked, shown
//	 200  operator arms
//	  75  intent made
//	 330  *board's sync of the intent
//	 550  sent to the host, packed, over the line
//	 240  *host's sync
//	 350  *acknowledged
//	 600  *NV_Extend (470), *PCR_Extend
//	2050  *NV_Certify, *Quote; beside them *token, checkpoint signed, on the line, and verified by the host
//	 500  *attestation and outcome written down
//	 600  over the line
//	 540  *host's sync (300), signature verified
//	 100  to the client
//
// What two TPM commands take there is twice what they take alone: swtpm, token, link, daemon and core want two processors
// at once. ceremony_vs_parts has as its peer what waits for disk, TPM, token and line once. ceremony_vs_demanded adds what
// a ceremony cannot do without either: request and result cross the line too, and nobody is believed whose signature was
// not verified.
//
// sign_floor_vs_gpg is what sign_small_vs_gpg would be if daemon, line and board cost nothing between those parts: about
// what gpg's process takes.
//
// sign_small_vs_piv_tool cannot reach its target: yubico-piv-tool asks for a bare signature, and the syncs on two disks and
// the TPM commands that make ours evidence take about as long as half of that process.
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
	image := flag.String("image", "build/image/qemu", "where the board's image is, for the group image")
	imageCache := flag.String("image-cache", "build/image-cache", "where its kernel and Debian's packages are kept")
	quick := flag.Bool("quick", false, "the same rows on smaller work")
	huge := flag.Bool("huge", false, "a log of 10^7 signatures too")
	only := flag.String("only", "", "groups of rows to measure, separated by commas: "+strings.Join(groupNames(), ", ")+" (default: all but image-cold and image-test)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o := options{bin: *bin, out: *out, image: *image, imageCache: *imageCache, quick: *quick, huge: *huge}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if err := run(ctx, o); err != nil {
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
	batch int64 // bytes of each of eight files
	link  linkSize
}

var sizes = map[bool]size{
	false: {small: 31, large: 9, bytes: 1 << 30, batch: 256 << 20, link: linkSizes[false]},
	true:  {small: 11, large: 3, bytes: 1 << 30 / 2, batch: 64 << 20, link: linkSizes[true]},
}

// bench is a world with an operator who never sleeps, and files to sign.
type bench struct {
	ctx   context.Context
	w     *world.World
	size  size
	small string
	large string
}

// options say what a run measures.
type options struct {
	bin, out    string
	image       string // folder of a build of the image
	imageCache  string // folder of kernels and fetched packages
	quick, huge bool
	only        []string // groups, all if empty
}

// group is a part of the rows that can be measured without the others.
type group struct {
	name  string
	rows  func(context.Context, options, string) ([]Row, error) // in a directory of its own
	named bool                                                  // measured only when asked for by its name: it takes minutes
}

var groups = []group{
	{name: "sign", rows: inWorld((*bench).times)},
	{name: "batch", rows: inWorld((*bench).batch)},
	{name: "tools", rows: inWorld((*bench).toolRows)},
	{name: "ceremony", rows: inWorld((*bench).ceremonyRows)},
	{name: "wire", rows: inWorld((*bench).wire)},
	{name: "idle", rows: inWorld((*bench).idle)},
	{name: "link", rows: func(ctx context.Context, o options, dir string) ([]Row, error) { return linkRows(ctx, dir, o.quick) }},
	{name: "audit", rows: func(ctx context.Context, o options, _ string) ([]Row, error) {
		return auditRows(ctx, o.bin, o.logs(), o.quick, o.huge)
	}},
	{name: "memory", rows: func(ctx context.Context, o options, dir string) ([]Row, error) {
		longest, err := biglog.Cached(o.logs(), longest(o.quick))
		if err != nil {
			return nil, err
		}
		return memoryRows(ctx, o.bin, dir, longest)
	}},
	{name: "image", rows: imageRows},
	{name: "image-cold", rows: imageColdRows, named: true},
	{name: "image-test", rows: imageTestRows, named: true},
}

func groupNames() (names []string) {
	for _, g := range groups {
		names = append(names, g.name)
	}
	return names
}

// wanted says whether a run measures it that names these groups, or none.
func (g group) wanted(only []string) bool {
	if len(only) == 0 {
		return !g.named
	}
	return slices.Contains(only, g.name)
}

// logs is where the long logs are kept.
func (o options) logs() string { return filepath.Join(filepath.Dir(o.out), "biglog") }

func run(ctx context.Context, o options) error {
	var rows []Row
	for _, name := range o.only {
		if !slices.Contains(groupNames(), name) {
			return fmt.Errorf("there is no group of rows %q: use %s", name, strings.Join(groupNames(), ", "))
		}
	}
	for _, g := range groups {
		if !g.wanted(o.only) {
			continue
		}
		part, err := g.measure(ctx, o)
		if err != nil {
			return err
		}
		rows = append(rows, part...)
	}
	for i := range rows {
		rows[i].Quick = o.quick
	}
	return report(o.out, rows)
}

// measure runs a group in a directory that is gone afterwards.
func (g group) measure(ctx context.Context, o options) (rows []Row, err error) {
	dir, err := os.MkdirTemp("", "tmb-") // short: sockets lie in it
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return g.rows(ctx, o, dir)
}

// inWorld measures on a board, a host and an operator of its own.
func inWorld(measure func(*bench) ([]Row, error)) func(context.Context, options, string) ([]Row, error) {
	return func(ctx context.Context, o options, dir string) (rows []Row, err error) {
		b := &bench{size: sizes[o.quick], small: filepath.Join(dir, "small"), large: filepath.Join(dir, "large")}
		if err := makeFile(b.small, 100<<10); err != nil {
			return nil, err
		}
		if b.w, err = world.Up(ctx, world.Config{Dir: filepath.Join(dir, "w"), Bin: o.bin, Touch: "auto", Policy: unlimited}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.w.Close()) }()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		b.ctx = ctx
		go func() { cancel(armAll(ctx, b.w)) }()
		if rows, err = measure(b); err != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		return rows, err
	}
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

// times compares the whole process of touchmark sign with gpg's.
func (b *bench) times() (rows []Row, err error) {
	if err := makeFile(b.large, b.size.bytes); err != nil {
		return nil, err
	}
	g, err := newSoftGPG(b.ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	label := func(format string) string { return fmt.Sprintf(format, b.size.bytes>>20) }
	gpg := func(path string) timed { return stopwatch(func() error { return g.Sign(b.ctx, path) }) }
	for _, c := range []struct {
		name, peer string
		target     float64
		n          int
		ours, them timed
	}{
		{"sign_small_vs_gpg", "gpg --detach-sign, software P-256, 100 KiB", 1, b.size.small, b.sign(b.small), gpg(b.small)},
		{"sign_1gib_vs_hash", label("Go SHA-256 over %d MiB"), 1.03, b.size.large, b.sign(b.large), stopwatch(func() error { return hashFile(b.large) })},
		{"sign_1gib_vs_gpg", label("gpg --detach-sign, software P-256, %d MiB"), 0.5, b.size.large, b.sign(b.large), gpg(b.large)},
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

// batch compares one worker with two on eight files of one call. They are one file under eight names: what they have in
// common is only that the page cache holds them.
func (b *bench) batch() (rows []Row, err error) {
	const files = 8
	dir := filepath.Dir(b.small)
	paths := []string{filepath.Join(dir, "file-0")}
	err = makeFile(paths[0], b.size.batch)
	for i := 1; i < files; i++ {
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("file-%d", i)))
		err = errors.Join(err, os.Link(paths[0], paths[i]))
	}
	if err != nil {
		return nil, err
	}
	with := func(workers int) timed {
		return stopwatch(func() error {
			cmd := b.w.Command(b.ctx, "", "touchmark", append([]string{"sign", "--quiet"}, paths...)...)
			cmd.Env = append(cmd.Env, fmt.Sprintf("GOMAXPROCS=%d", workers))
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	row, err := compare("sign_8x256mib_scaling", fmt.Sprintf("two workers; ours is one; %d files of %d MiB", files, b.size.batch>>20), 1.8, b.size.large, with(1), with(2))
	row.atLeast = true
	return []Row{row}, err
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
