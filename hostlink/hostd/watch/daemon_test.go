package watch

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/hostd/staging"
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
func says(l net.Listener, resp *api.Response, state string, taken chan<- bool, asked chan<- *api.Request) {
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
		asked <- &req
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
		"signed":              {signed, "signed", Answer{Result: round.Signed}},
		"a signature too few": {&api.Response{Final: true, OK: true}, "signed", Answer{Open: true}},
		"denied":              {code(api.Denied), "ended", Answer{Result: round.Denied}},
		"signed in part": {&api.Response{Final: true, Code: api.TimedOut, Error: "x", Signatures: [][]byte{{1}}, Proofs: [][]byte{{2}}}, "ended",
			Answer{Result: round.Late, Signatures: []staging.Signature{{Signature: []byte{1}, Proof: []byte{2}}}}},
		"an empty one":         {&api.Response{Final: true, OK: true, Signatures: [][]byte{nil}, Proofs: [][]byte{nil}}, "signed", Answer{Open: true}},
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
			go says(l, tc.resp, tc.state, taken, make(chan *api.Request, 4))
			var jobs sync.WaitGroup
			d := Socket{Path: path, Jobs: &jobs}
			req := requestOf(t, "core.db", "openpgp-binary", "content", nil)
			d.Sign(t.Context(), req, func() { heard <- true }, func(a *Answer) { ended <- a })
			a := <-ended
			if a.Open != tc.want.Open || a.Result != tc.want.Result || (a.Result == round.Signed && !a.Open || tc.want.Signatures != nil) != (len(a.Signatures) == 1) {
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
	d.Sign(ctx, requestOf(t, "core.db", "openpgp-binary", "content", nil), func() {}, func(a *Answer) { ended <- a })
	c, err := l.Accept()
	must(t, err)
	stop()
	if a := <-ended; !a.Open {
		t.Errorf("%+v", a)
	}
	jobs.Wait()
	must(t, c.Close())
}

// requestOf is a request for one file. Without read nobody may read it.
func requestOf(t *testing.T, name, format, content string, read func(int) ([]byte, error)) *Request {
	t.Helper()
	f, _ := sigformat.FormatOf(format)
	st, err := f.Digest(message.SHA256, strings.NewReader(content))
	must(t, err)
	if read == nil {
		read = func(int) ([]byte, error) {
			t.Error("it was read")
			return nil, os.ErrInvalid
		}
	}
	digest := message.Digest{Alg: message.SHA256, Sum: st.Digest()}
	return &Request{Class: "db", Patience: time.Hour, Read: read, Items: []round.Item{{Name: name, Format: format, Digest: digest.String(), Size: st.Count(), State: st.Bytes()}}}
}

const releaseText = "Suite: stable\nDate: Sat, 21 Nov 2026 12:00:00 UTC\nSHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/Packages\n"

// TestSocketSendsDocuments: a Release file goes whole, so that the operator sees what it says; where it cannot be read,
// its state goes. Anything else goes as a state, unread.
func TestSocketSendsDocuments(t *testing.T) {
	whole := func(int) ([]byte, error) { return []byte(releaseText), nil }
	for name, tc := range map[string]struct {
		req      *Request
		document bool
	}{
		"a Release file":   {requestOf(t, "Release", "openpgp-binary", releaseText, whole), true},
		"as a text":        {requestOf(t, "Release", "openpgp-cleartext", releaseText, whole), true},
		"one that is gone": {requestOf(t, "Release", "openpgp-binary", releaseText, func(int) ([]byte, error) { return nil, os.ErrNotExist }), false},
		"another by now":   {requestOf(t, "Release", "openpgp-binary", "Suite: x\n", whole), false},
		"a database":       {requestOf(t, "core.db", "openpgp-binary", releaseText, nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			path, l := socketAt(t)
			asked, ended := make(chan *api.Request, 1), make(chan *Answer, 1)
			go says(l, &api.Response{Final: true, Code: api.Denied}, "ended", make(chan bool, 1), asked)
			var jobs sync.WaitGroup
			Socket{Path: path, Jobs: &jobs}.Sign(t.Context(), tc.req, func() {}, func(a *Answer) { ended <- a })
			(<-ended).Close(true)
			it := (<-asked).Items[0]
			if (it.Document != nil) != tc.document || (it.State != nil) == tc.document || it.Digest != tc.req.Items[0].Digest {
				t.Errorf("%+v", it)
			}
			jobs.Wait()
		})
	}
}

// TestSocketRefusesNonsense: what is no item of a queue is not asked for.
func TestSocketRefusesNonsense(t *testing.T) {
	good := requestOf(t, "core.db", "openpgp-binary", "content", nil)
	for _, spoil := range []func(*round.Item){func(it *round.Item) { it.Format = "x" }, func(it *round.Item) { it.State = nil }, func(it *round.Item) { it.Digest = "md5:" }} {
		path, _ := socketAt(t)
		req := *good
		req.Items = []round.Item{good.Items[0]}
		spoil(&req.Items[0])
		ended := make(chan *Answer, 1)
		var jobs sync.WaitGroup
		Socket{Path: path, Jobs: &jobs}.Sign(t.Context(), &req, func() {}, func(a *Answer) { ended <- a })
		if a := <-ended; a.Open || a.Result != round.Refused || a.Why == "" {
			t.Errorf("%+v", a)
		}
		jobs.Wait()
	}
}
