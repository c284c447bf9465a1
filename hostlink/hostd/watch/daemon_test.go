package watch

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/message"
)

// socketAt listens where a path is short enough for a socket.
func socketAt(t *testing.T) (string, net.Listener) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tm")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return path, l
}

// says is a daemon that answers a sign request with resp, nil for hanging up, and says of the job that it is in state.
func says(l net.Listener, resp *api.Response, state string, taken chan<- bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		lines := api.NewLines(c)
		var req api.Request
		if err := lines.Read(&req); err != nil || req.Op == api.OpSign && resp == nil {
			_ = c.Close()
			continue
		}
		if req.Op == api.OpJobs {
			_ = lines.Write(&api.Response{Final: true, OK: true, Jobs: []api.Job{{Job: "j1", State: state}}})
			_ = c.Close()
			continue
		}
		_ = lines.Write(&api.Response{Event: &api.Event{State: message.EventArmed, Job: "j1"}})
		_ = lines.Write(resp)
		go func() {
			var next api.Request
			taken <- lines.Read(&next) == nil && next.Op == api.OpTaken
			_ = c.Close()
		}()
	}
}

// TestSocketJudges: what the daemon's answers mean for the queue. Whether a job that may be signed goes on is asked for:
// it is not asked for anew before its end is known.
func TestSocketJudges(t *testing.T) {
	signed := &api.Response{Final: true, OK: true, Signatures: [][]byte{{1}}, Proofs: [][]byte{{2}}}
	code := func(c int) *api.Response { return &api.Response{Final: true, Code: c, Error: "so it is"} }
	for name, tc := range map[string]struct {
		resp  *api.Response
		state string
		want  Answer
	}{
		"signed":               {signed, "signed", Answer{Result: round.Signed}},
		"a signature too few":  {&api.Response{Final: true, OK: true}, "signed", Answer{Open: true}},
		"denied":               {code(api.Denied), "ended", Answer{Result: round.Denied}},
		"nobody came":          {code(api.TimedOut), "ended", Answer{Result: round.Late}},
		"refused":              {code(api.Refused), "ended", Answer{Result: round.Refused}},
		"no link":              {code(api.LinkDown), "ended", Answer{Result: round.Faulty}},
		"withdrawn":            {code(api.Interrupted), "ended", Answer{Result: round.Withdrawn}},
		"others wait for it":   {code(api.Interrupted), "shown", Answer{Open: true}},
		"may be signed yet":    {code(api.MaySigned), "committed", Answer{Open: true}},
		"signed, but for whom": {code(api.MaySigned), "ended", Answer{Result: round.Lost}},
		"gone":                 {nil, "", Answer{Open: true}},
	} {
		t.Run(name, func(t *testing.T) {
			path, l := socketAt(t)
			taken, heard, ended := make(chan bool, 1), make(chan bool, 4), make(chan *Answer, 1)
			go says(l, tc.resp, tc.state, taken)
			var jobs sync.WaitGroup
			d := Socket{Path: path, Jobs: &jobs}
			req := &Request{Class: "db", Patience: time.Hour, Items: []round.Item{{Name: "core.db", Format: "openpgp-binary"}}}
			d.Sign(t.Context(), req, func() { heard <- true }, func(a *Answer) { ended <- a })
			a := <-ended
			if a.Open != tc.want.Open || a.Result != tc.want.Result || (a.Result == round.Signed && !a.Open) != (len(a.Signatures) == 1) {
				t.Errorf("%+v", a)
			}
			a.Close(!a.Open)
			jobs.Wait()
			if tc.resp == nil {
				return
			}
			if got := <-taken; got != !a.Open {
				t.Errorf("taken: %t", got)
			}
			if len(heard) == 0 {
				t.Error("not told that it is armed")
			}
		})
	}
}

// TestSocketNobodyThere: without a daemon, and when the host is stopped, nothing is known.
func TestSocketNobodyThere(t *testing.T) {
	var jobs sync.WaitGroup
	ended := make(chan *Answer, 1)
	d := Socket{Path: filepath.Join(t.TempDir(), "none"), Jobs: &jobs}
	d.Sign(t.Context(), &Request{}, func() {}, func(a *Answer) { ended <- a })()
	if a := <-ended; !a.Open {
		t.Errorf("%+v", a)
	}
	path, l := socketAt(t)
	ctx, stop := context.WithCancel(t.Context())
	d.Path = path
	d.Sign(ctx, &Request{}, func() {}, func(a *Answer) { ended <- a })
	c, err := l.Accept()
	must(t, err)
	stop()
	if a := <-ended; !a.Open {
		t.Errorf("%+v", a)
	}
	jobs.Wait()
	must(t, c.Close())
}
