package powercut

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// full in the environment asks for every call of every target in every mode,
// which takes half an hour; else a few are chosen that matter most.
const full = "TOUCHMARK_POWERCUT"

// How many worlds of one target live at a time, when all is asked for; more of
// those that wait for the daemon's next greeting most of the time.
const workers, patientWorkers = 2, 8

// faults are the modes, each with the error it reports.
var faults = []Order{
	{Mode: Fail, Errno: int(unix.EIO)},
	{Mode: After, Errno: int(unix.EIO)},
	{Mode: Torn, Errno: int(unix.ENOSPC)},
	{Mode: Freeze, Errno: int(unix.EROFS)},
	{Mode: Kill},
}

// TestEveryCallFails: whatever call on files fails, and however, in the
// appliance, in its enrolment or in the host's daemon: nothing is released that
// the log lacks, what does not go on says why, the board on its display, and once
// the fault is gone what was wanted comes about, everything works again and the
// auditor finds nothing.
func TestEveryCallFails(t *testing.T) {
	worlds := bases(t)
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg := targets[name]
			base := worlds[tg.base]
			out, err := try(t.Context(), base, filepath.Join(t.TempDir(), "w"), tg, Order{Mode: Count})
			if err != nil || !strings.HasPrefix(out.said, tg.good) || len(out.calls) < 50 {
				t.Fatalf("without a fault: %s, %d calls, %v", out.said, len(out.calls), err)
			}
			orders := chosen(name, out.calls)
			if os.Getenv(full) != "" {
				orders = all(out.calls)
			}
			m := &matrix{t: t, base: base, dir: t.TempDir(), tg: tg, said: map[string]int{}}
			m.run(orders)
			for text, n := range m.said {
				t.Logf("%4d × %s", n, text)
			}
			t.Logf("%s: %d runs, %d of them hit; %d calls", name, len(orders), m.hits.Load(), len(out.calls))
			if m.hits.Load() == 0 {
				t.Error("no call was hit")
			}
		})
	}
}

// all are all faults at all calls, and some beyond the last, because no two
// runs are quite alike.
func all(calls []string) (orders []Order) {
	for _, o := range faults {
		for i := range len(calls) + 5 {
			if o.Mode == Torn && i < len(calls) && !isWrite(calls[i]) {
				continue
			}
			o.Call = i + 1
			orders = append(orders, o)
		}
	}
	return orders
}

func isWrite(call string) bool {
	return strings.HasPrefix(call, "write ") || strings.HasPrefix(call, "pwrite ")
}

// chosen are a few orders: the writes and syncs of the log itself, and what
// puts a checkpoint into place, each in another mode than the one before.
func chosen(name string, calls []string) (orders []Order) {
	most := map[string]int{"appliance": 6, "mirror": 4, "enrolment": 4, "heal": 1, "resume": 1}[name] // the last two wait for the daemon's next greeting
	if most == 0 {
		most = 2
	}
	var matter []int
	for i, c := range calls {
		if (strings.Contains(c, "sync ") || isWrite(c) || strings.HasPrefix(c, "renameat ")) &&
			(strings.Contains(c, "/log-") || strings.Contains(c, "checkpoint") || strings.Contains(c, "pending") || name == "enrolment" || name == "rounds") {
			matter = append(matter, i)
		}
	}
	for k := range min(most, len(matter)) {
		o := faults[(k+len(name))%len(faults)]
		o.Call = matter[k*len(matter)/most] + 1
		orders = append(orders, o)
	}
	return orders
}

// matrix runs orders on copies of one world.
type matrix struct {
	t         *testing.T
	base, dir string
	tg        target
	hits      atomic.Int64

	mu   sync.Mutex
	said map[string]int
}

func (m *matrix) run(orders []Order) {
	next := make(chan Order)
	var wg sync.WaitGroup
	n := 1
	if os.Getenv(full) != "" {
		if n = workers; m.tg.base == behind || m.tg.base == lost {
			n = patientWorkers
		}
	}
	for i := range n {
		wg.Go(func() {
			for o := range next {
				m.one(m.t.Context(), filepath.Join(m.dir, fmt.Sprint(i)), o)
			}
		})
	}
	for _, o := range orders {
		next <- o
	}
	close(next)
	wg.Wait()
}

func (m *matrix) one(ctx context.Context, dir string, o Order) {
	out, err := try(ctx, m.base, dir, m.tg, o)
	what := fmt.Sprintf("%s %s at call %d (%s)", m.tg.program, o.Mode, o.Call, strings.ReplaceAll(out.hit, dir, ""))
	if out.hit != "" {
		m.hits.Add(1)
	}
	if err != nil {
		m.t.Errorf("%s: %v\nit had said: %s", what, err, out.said)
	} else if o.Mode != Kill && !explained(m.tg, out.said, o.Errno) {
		m.t.Errorf("%s: it does not say what is wrong: %s", what, out.said)
	}
	m.mu.Lock()
	m.said[lastLine(out.said, dir)]++
	m.mu.Unlock()
	if err := os.RemoveAll(dir); err != nil {
		m.t.Error(err)
	}
}

// explained: a program that did not do what it was asked for names the error;
// the board's says so on its display.
func explained(tg target, said string, errno int) bool {
	return strings.HasPrefix(said, "exit code") || strings.HasPrefix(said, tg.good) ||
		strings.Contains(said, unix.Errno(errno).Error()) && !(tg.program == "appliance" && strings.Contains(said, "touchmark-appliance: "))
}

// lastLine is what of a message is worth counting: what it ends with, without
// what differs from run to run.
func lastLine(said, dir string) string {
	lines := slices.DeleteFunc(strings.Split(said, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	if len(lines) == 0 {
		return ""
	}
	return strings.ReplaceAll(lines[len(lines)-1], dir, "")
}
