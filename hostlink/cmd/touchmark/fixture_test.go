package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/ledger/find"
	"touchmark/tpm/quote"
)

// fixture is a log and a daemon that answers from it: honestly, or as the test
// wants.
type fixture struct {
	*logtest.Log
	kept *api.Response // an answer that nobody has taken
	name []string      // of its items

	watchers int // that came

	mu sync.Mutex // guards what a script changes of the log while the daemon serves
}

func must[T any](v T, err error) T { return logtest.Must(v, err) }

var plainNote = must(message.SignNote([]byte("not looked at here\n")))

func newFixture() *fixture { return &fixture{Log: logtest.New(plainNote)} }

// answer signs what a request asks for, with intent, commit and proof.
func (f *fixture) answer(req *api.Request) *api.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := message.Approval{Origin: logtest.Origin, Class: "test", NotAfter: logtest.Noon.Add(time.Hour)}
	must(rand.Read(a.Nonce[:]))
	var states []hashstate.State
	for _, it := range req.Items {
		d := must(message.ParseDigest(it.Digest))
		a.Items = append(a.Items, message.Item{Format: it.Format, Digest: d, Size: it.Size, Name: it.Name})
		states = append(states, must(hashstate.Parse(d.Alg, it.State)))
	}
	i, items := f.Intent(must(message.SignNote(a.Marshal())), plainNote, states)
	f.Commit()
	r := &api.Response{Final: true, OK: true, Job: message.JobOf(a.Marshal()).String()}
	for _, it := range items {
		r.Signatures, r.Proofs = append(r.Signatures, it.Signature), append(r.Proofs, f.Proof(i))
	}
	return r
}

// answers is what the board says to a challenge.
func (f *fixture) answers(text []byte) []byte {
	c := must(challenge.Parse(text))
	tag := quote.ChallengeTag(c.Nonce)
	a := challenge.Answer{Origin: c.Origin, Nonce: c.Nonce, Certify: f.TPM.CertifyHead(tag), Quote: f.TPM.QuotePCR(tag), Checkpoint: f.Note}
	return must(a.Marshal())
}

// serve answers connections in the way of mode until the listener closes.
func (f *fixture) serve(l net.Listener, mode string, arg string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.client(c, mode, arg)
		_ = c.Close()
	}
}

func (f *fixture) client(c net.Conn, mode, arg string) {
	x := &exchange{fixture: f, lines: api.NewLines(c), mode: mode, arg: arg}
	if x.lines.Read(&x.req) != nil {
		return // a client that found its own inputs wrong says nothing
	}
	if mode == "fail" && (x.req.Op != api.OpSign || x.req.Items[0].Document != nil) {
		x.say(x.failure())
		return
	}
	answer := x.sign
	switch x.req.Op {
	case api.OpStatus:
		answer = x.status
	case api.OpLog:
		answer = x.log
	case api.OpMay:
		answer = x.may
	case api.OpRound:
		answer = func() { x.say(rounds(&x.req, mode, arg)) }
	case api.OpWatch:
		answer = func() { f.watched(&x.req, x.say) }
	case api.OpOrder:
		answer = x.order
	case api.OpChallenge:
		answer = func() { x.say(&api.Response{Final: true, OK: true, Answer: f.answers(x.req.Text)}) }
	case api.OpJobs:
		answer = x.jobs
	case api.OpFetch:
		answer = x.fetch
	}
	answer()
}

// exchange is one request of a client, answered in the way of a mode.
type exchange struct {
	*fixture
	lines     *api.Lines
	req       api.Request
	mode, arg string
}

func (x *exchange) say(r *api.Response) { _ = x.lines.Write(r) }

// failure is what a daemon says that fails with the exit code arg.
func (x *exchange) failure() *api.Response {
	var code int
	must(fmt.Sscan(x.arg, &code))
	return &api.Response{Final: true, Code: code, Error: "so says the daemon"}
}

// status is that of a board that is well, in mode good; that halted, for the reason arg; that contradicts its log, as arg
// says. Without these modes the link is as arg says.
func (x *exchange) status() {
	s := &api.Status{Origin: logtest.Origin, Link: x.arg, Verified: x.mode == "good", Writes: 7000, Days: 900}
	switch x.mode {
	case "good":
		s.Board = message.StateReady
	case "halted":
		s.Board, s.Halt, s.Days, s.Link = message.StateHalted, x.arg, -1, "the appliance has halted ("+x.arg+")"
		s.Refuses, s.Code = s.Link, api.DeviceFault
	case "evidence":
		s.Evidence = x.arg
	}
	if s.Board != "" {
		s.Certs, s.Standing = []string{"00aa"}, []string{"REVOKED: " + certificate.Retired.Words()}
	}
	x.say(&api.Response{Final: true, OK: true, Status: s})
}

// log is the log, of which entry 0 alone is committed.
func (x *exchange) log() {
	finder, err := find.New(*cmp.Or(x.req.Find, &find.Query{}))
	if err != nil {
		x.say(&api.Response{Final: true, Code: api.Usage, Error: err.Error()})
		return
	}
	for i, e := range x.Entries {
		if must(finder.Match(e)) {
			x.say(&api.Response{Entry: &api.Entry{Index: uint64(i), Committed: i == 0, Text: e}})
		}
	}
	x.say(&api.Response{Final: true, OK: true})
}

// may allows every file, but in mode small.
func (x *exchange) may() {
	r := &api.Response{Final: true, OK: x.mode != "small"}
	if it := x.req.Items[0]; !r.OK {
		r.Code, r.Error = api.Refused, fmt.Sprintf("the policy refuses: %s: %d bytes, class %s allows 100", it.Name, it.Size, x.req.Class)
	}
	x.say(r)
}

// order writes an order to the file arg, and has it in force if that is waited for.
func (x *exchange) order() {
	must(0, os.WriteFile(x.arg, x.req.Note, 0o644))
	o := &api.Order{State: message.EventShown}
	if x.req.Decision {
		x.say(&api.Response{Event: &api.Event{State: message.EventShown}})
		o = &api.Order{State: api.OrderInForce, Entry: 7}
	}
	x.say(&api.Response{Final: true, OK: true, Order: o})
}

// jobs has the one whose answer nobody has taken.
func (x *exchange) jobs() {
	r := &api.Response{Final: true, OK: true}
	if x.kept != nil {
		r.Jobs = []api.Job{{Job: x.kept.Job, State: "signed", Class: "test", Names: x.name, Created: "2026-03-02T12:00:00Z"}}
	}
	x.say(r)
}

// fetch gives that answer, and forgets it when the client says that it has used it.
func (x *exchange) fetch() {
	if x.kept == nil || x.req.Job != x.kept.Job {
		x.say(&api.Response{Final: true, Code: api.Usage, Error: "job " + x.req.Job + " is not kept here (any more): see touchmark jobs"})
		return
	}
	x.say(x.kept)
	var next api.Request
	if x.lines.Read(&next) == nil && next.Op == api.OpTaken {
		x.kept = nil
	}
}

// sign signs, and does what the mode says between that and the answer.
func (x *exchange) sign() {
	r := x.answer(&x.req)
	x.say(&api.Response{Event: &api.Event{State: "shown", Job: r.Job}})
	switch x.mode {
	case "swap": // the signatures of a batch exchanged
		slices.Reverse(r.Signatures)
	case "short":
		r.Signatures = r.Signatures[1:]
	case "forge": // a good signature, but by a log that is not pinned
		r = newFixture().answer(&x.req)
	case "change":
		must(0, os.WriteFile(x.arg, []byte("other content"), 0o644))
	case "block": // a directory appears where the signature should go
		must(0, os.Mkdir(x.arg, 0o755))
	case "gone":
		return
	case "keep":
		x.keep(r)
		return
	case "fail":
		r = x.failure()
	}
	x.say(r)
}

// keep keeps an answer of which the client hears nothing, and writes the job to the file arg.
func (x *exchange) keep(r *api.Response) {
	x.kept, x.name = r, nil
	for _, it := range x.req.Items {
		x.name = append(x.name, it.Name)
	}
	must(0, os.WriteFile(x.arg, []byte(r.Job), 0o644))
}

// writeTrust puts the trust file where scripts find it.
func (f *fixture) writeTrust(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, api.TrustFile), f.TrustText(), 0o644),
		os.WriteFile(filepath.Join(dir, "checkpoint"), f.Note, 0o644),
		os.WriteFile(filepath.Join(dir, "log.vkey"), []byte(f.Trust.LogKey), 0o644))
}
