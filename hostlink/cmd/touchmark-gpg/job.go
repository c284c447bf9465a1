package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/gpgcompat/reply"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/verify"
)

// How long things may take.
const (
	// patience is how long a request waits for its signature if nobody says.
	patience = 10 * time.Minute
	// The daemon takes up to a week.
	maxPatience = 7 * 24 * time.Hour
	// grace is how much later than that an answer may come: what is armed cannot
	// be withdrawn, and its end is at most a touch away.
	grace = time.Minute
	// readers is how long a named pipe that the signature shall go to waits for
	// somebody who reads from it.
	readers = 10 * time.Second
	// reading bounds the time before the request, in which a caller writes to us.
	reading = time.Hour
)

// timeout is how long a request may wait: $TOUCHMARK_TIMEOUT.
func timeout() (time.Duration, error) {
	text := env("TOUCHMARK_TIMEOUT", patience.String())
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxPatience {
		return 0, fmt.Errorf("$TOUCHMARK_TIMEOUT is %q: use 1s to 168h", text)
	}
	return d, nil
}

// job is one request: the calls that it answers, what they are over, and where
// the results go.
type job struct {
	p     *program
	trust *verify.Trust
	ring  reply.Ring // one of these keys must have signed
	calls []*gpgcompat.Call
	in    []*input
	outs  []*output
	wait  time.Duration // for the signature …
	late  time.Duration // … and for an answer after that
}

// do has the signatures made, checks them against this host's own trust and
// hashes, and writes them. On failure nothing is written; the daemon offers a
// result that nobody took to the same call again.
func (j *job) do() ([]*verify.Facts, error) {
	daemon := client.Daemon{Socket: env("TOUCHMARK_SOCKET", "/run/touchmark/hostd.sock"), Slow: func(time.Duration) {
		j.p.voice.tell("touchmark-hostd has not answered yet: waiting for it")
	}}
	connected := j.within(j.wait+j.late, "touchmark-hostd does not answer")
	err := j.may(daemon)
	if err != nil {
		return nil, err
	}
	s, err := daemon.Open()
	connected()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	read := j.within(reading, "what is to be signed does not come to an end")
	err = j.read()
	read()
	if err != nil {
		return nil, err
	}
	req, err := j.request()
	if err != nil {
		return nil, err
	}
	r, err := j.converse(s, req)
	if err != nil {
		return nil, err
	}
	facts, err := j.accept(r)
	if err == nil {
		err = writeAll(j.outs)
	}
	if err != nil {
		return nil, err
	}
	s.Taken()
	return facts, nil
}

// within ends the process if what nothing can interrupt takes longer than d;
// nothing is written yet. The caller says when it is over.
func (j *job) within(d time.Duration, why string) (over func()) {
	t := time.AfterFunc(d, func() {
		j.p.voice.fail("%s, after %s: no signature was written", why, d)
		os.Exit(exitFailed)
	})
	return func() { t.Stop() }
}

// may asks what the policy has against files that take long to hash. What a pipe brings
// nobody knows before it is read.
func (j *job) may(daemon client.Daemon) error {
	var files []api.Item
	for _, c := range j.calls {
		st, err := os.Stat(c.File)
		if c.File == "-" || c.FD(c.File) >= 0 || err != nil || !st.Mode().IsRegular() {
			return nil // what is wrong with it, reading it says
		}
		files = append(files, api.Item{Name: env("TOUCHMARK_NAME", c.Name(nil)), Format: c.Format.Name, Size: uint64(st.Size())})
	}
	return daemon.May(env("TOUCHMARK_CLASS", ""), files)
}

func (j *job) read() error {
	for _, c := range j.calls {
		alg, err := j.ring.Hash(c.Hash)
		if err != nil {
			return err
		}
		in, err := read(c, alg)
		if err != nil {
			return err
		}
		j.in = append(j.in, in)
	}
	return nil
}

func (j *job) request() (r *api.Request, err error) {
	r = &api.Request{Op: api.OpSign, Class: env("TOUCHMARK_CLASS", ""), Timeout: j.wait.Milliseconds(), Key: make([]byte, api.KeySize)}
	rand.Read(r.Key) // never fails: crypto/rand ends the program instead
	var files []client.File
	for i, in := range j.in {
		files = append(files, client.File{Name: in.name, Format: j.calls[i].Format, State: in.state, Read: in.whole})
	}
	r.Items, err = client.Items(files)
	return r, err
}

// converse sends the request and follows it to its end. A signal withdraws it,
// unless it is armed; a second one leaves at once, as does the deadline.
func (j *job) converse(s *client.Session, req *api.Request) (*api.Response, error) {
	s.Return = j.wait
	leave := time.AfterFunc(j.wait+j.late, s.Leave)
	defer leave.Stop()
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(stop)
	over := make(chan struct{})
	defer close(over)
	go func() {
		for _, end := range []func(){s.Cancel, s.Leave} {
			select {
			case <-over:
				return
			case <-stop:
				end()
			}
		}
	}()
	s.Event = j.p.voice.event
	r, err := s.Wait(req)
	switch {
	case err != nil && s.Job != "":
		return nil, api.Errorf(api.MaySigned, "no answer any more while job %s was with the appliance: it may be signed yet; touchmark jobs says how it ended", s.Job)
	case err != nil && s.Left():
		return nil, api.Errorf(api.TimedOut, "touchmark-hostd did not answer within %s", j.wait+j.late)
	case err != nil:
		return nil, err
	case !r.OK:
		s.Taken()
	}
	return r, client.Said(r)
}

// events are what a person is told of them.
var events = map[string]string{
	"queued": "waiting: another request is with the operator",
	"shown":  "on the appliance's display: waiting for the operator",
	"touch":  "waiting for the touch",
}

// event tells what the daemon says goes on.
func (v *voice) event(e *api.Event) {
	if text, ok := events[e.State]; ok {
		v.tell(text)
	}
}

// accept checks signatures and proofs, that one of the keys that the caller meant
// made them, and that the files are still the same.
func (j *job) accept(r *api.Response) ([]*verify.Facts, error) {
	if len(r.Signatures) != len(j.in) || len(r.Proofs) != len(j.in) {
		return nil, fmt.Errorf("touchmark-hostd returned %d signatures and %d proofs for %d requests", len(r.Signatures), len(r.Proofs), len(j.in))
	}
	facts := make([]*verify.Facts, len(j.in))
	for i, in := range j.in {
		proof, err := j.trust.OpenProof(r.Proofs[i])
		if err != nil {
			return nil, err
		}
		if facts[i], err = proof.Check(in.name, j.calls[i].Format, in.state, r.Signatures[i]); err != nil {
			return nil, err
		}
		if !j.ring.Has(facts[i].Key) {
			return nil, fmt.Errorf("class %s signs with key %X, the caller wants %s: name another class with $TOUCHMARK_CLASS", facts[i].Class, facts[i].Key, j.ring.Names())
		}
		if err := in.unchanged(); err != nil {
			return nil, err
		}
		if err := j.outs[i].fill(j.calls[i], in, r.Signatures[i], r.Proofs[i], facts[i]); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

// failure says an error in gpgme's terms.
func failure(err error) reply.Failure {
	var e *api.Error
	switch {
	case !errors.As(err, &e):
	case e.Code == api.TimedOut:
		return reply.TimedOut
	case e.Code == api.Denied, e.Code == api.Interrupted:
		return reply.Denied
	}
	return reply.Failed
}

// certificateOf is the certificate of the key that signed.
func (j *job) certificateOf(f *verify.Facts) *certificate.Certificate {
	return j.trust.Keys.Find(f.Key)
}
