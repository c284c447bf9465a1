package soak

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"touchmark/tests/world"
)

// growth is how the memory of the two programs develops.
type growth struct {
	s     *soak
	lives map[string]*life
}

// life is one process of a program, with its resident memory (its children's too) at moments between two ceremonies.
type life struct {
	pid   int
	begun int // ceremonies before it
	rss   []uint64
}

// samples is how often memory is looked at.
const samples = 60

// slack is what a program's memory may grow by from its first half to its second: a collector's heap breathes by that
// much. A kibibyte forgotten in each of 20,000 ceremonies is more.
const slack = 8 << 20

func newGrowth(s *soak) *growth { return &growth{s: s, lives: map[string]*life{}} }

func (g *growth) sample(n int) {
	g.s.t.Helper()
	if every := max(1, *ceremonies/samples); (n+1)%every != 0 {
		return
	}
	for name, p := range g.s.programs() {
		l := g.lives[name]
		if l == nil || l.pid != p.PID {
			l = &life{pid: p.PID, begun: n}
			g.lives[name] = l
		}
		rss, err := p.RSS()
		g.s.ok(err)
		l.rss = append(l.rss, rss)
	}
	if n >= 1000 {
		fmt.Printf("%d of %d ceremonies: %v\n", n+1, *ceremonies, g)
	}
}

func (g *growth) String() string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(g.lives)) {
		rss := g.lives[name].rss
		text = append(text, fmt.Sprintf("%s %.1f MiB", name, float64(rss[len(rss)-1])/(1<<20)))
	}
	return strings.Join(text, ", ")
}

// flat wants the second half of each program's last life to need no more memory than the first.
func (g *growth) flat() {
	g.s.t.Helper()
	for name, l := range g.lives {
		if len(l.rss) < samples/5 {
			g.s.t.Errorf("%s: its last life, since ceremony %d, is too short to tell whether it leaks", name, l.begun)
			continue
		}
		half := len(l.rss) / 2
		first, second := slices.Max(l.rss[:half]), slices.Max(l.rss[half:])
		g.s.t.Logf("%s since ceremony %d: at most %.1f MiB in the first half of its life, %.1f in the second",
			name, l.begun, float64(first)/(1<<20), float64(second)/(1<<20))
		if second > first+slack {
			g.s.t.Errorf("%s grows: %v", name, l.rss)
		}
	}
}

// programs are the two that must not leak.
func (s *soak) programs() map[string]*world.Process {
	return map[string]*world.Process{"board": s.Appliance(), "daemon": s.Hostd()}
}

// goroutines are a program's, counted by who made them.
type goroutines map[string]int

// traces ends both programs with SIGQUIT, on which the Go runtime lists every goroutine, and starts them again.
func (s *soak) traces() map[string]goroutines {
	s.t.Helper()
	all := map[string]goroutines{"board": s.trace(s.Appliance()), "daemon": s.trace(s.Hostd())}
	s.KillAppliance()
	s.KillHostd()
	s.ok(s.StartAppliance(s.t.Context()))
	s.ok(s.StartHostd(s.t.Context()))
	return all
}

var createdBy = regexp.MustCompile(`^created by (\S+)`)

func (s *soak) trace(p *world.Process) goroutines {
	s.t.Helper()
	mark := p.Log.Mark()
	s.ok(syscall.Kill(p.PID, syscall.SIGQUIT))
	<-p.Done()
	g := goroutines{}
	for _, line := range p.Log.All()[mark:] {
		if m := createdBy.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "runtime.") {
			g[m[1]]++
		}
	}
	if len(g) == 0 {
		s.t.Fatalf("%s listed no goroutines:\n%s", p.Name, p.LogTail())
	}
	return g
}

// noMore wants now to have no more goroutines of a kind than before, but for those of what is just ending.
func (before goroutines) noMore(t *testing.T, who string, now goroutines) {
	t.Helper()
	for by, n := range now {
		if n > before[by]+2 {
			t.Errorf("%s: %d goroutines made by %s, %d at the beginning", who, n, by, before[by])
		}
	}
	t.Logf("%s: goroutines %v, at the beginning %v", who, now, before)
}

// clean wants the auditor to find nothing, the log to tell every outcome that is certain, and every touch that the token
// took to stand there as a signature given, withheld or possible.
func (s *soak) clean() {
	s.t.Helper()
	s.StopHostd()
	s.StopAppliance()
	res, err := s.Run(s.t.Context(), s.Dir, "touchmark-audit", "verify", s.Mirror, "--trust", s.Trust, "--json")
	s.ok(err)
	var p struct {
		Items    map[string]int
		Findings []struct{ Severity, Code, Explanation string }
	}
	s.ok(json.Unmarshal([]byte(res.Stdout), &p))
	for _, f := range p.Findings {
		if f.Severity == "evidence" {
			s.t.Errorf("finding %s: %s", f.Code, f.Explanation)
		}
	}
	if res.Code != 0 {
		s.t.Errorf("touchmark-audit: exit code %d\n%s", res.Code, res.Stderr)
	}
	for outcome, n := range s.items {
		if p.Items[outcome] < n {
			s.t.Errorf("the log has %d items %s, %d were seen: %v", p.Items[outcome], outcome, n, s.did)
		}
	}
	b, err := os.ReadFile(filepath.Join(s.Logs, "token-apdu.log"))
	s.ok(err)
	touched := strings.Count(string(b), " - touched\n") - 1 // the first was for the certificate
	if told := p.Items["signed"] + p.Items["signed-withheld"] + p.Items["unknown"] + p.Items["timed-out"]; touched > told {
		s.t.Errorf("the token was touched %d times, the log accounts for %d: %v", touched, told, p.Items)
	}
	s.t.Logf("%d touches; the log: %v", touched, p.Items)
}
