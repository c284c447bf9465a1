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
	lines := api.NewLines(c)
	var req api.Request
	if lines.Read(&req) != nil {
		return // a client that found its own inputs wrong says nothing
	}
	say := func(r *api.Response) { _ = lines.Write(r) }
	if mode == "fail" && (req.Op != api.OpSign || req.Items[0].Document != nil) {
		var code int
		must(fmt.Sscan(arg, &code))
		say(&api.Response{Final: true, Code: code, Error: "so says the daemon"})
		return
	}
	if req.Op == api.OpStatus {
		s := &api.Status{Origin: logtest.Origin, Link: arg, Verified: mode == "good", Evidence: evidenceOf(mode, arg), Writes: 7000, Days: 900}
		if mode == "good" || mode == "halted" {
			s.Board, s.Certs, s.Standing = message.StateReady, []string{"00aa"}, []string{"REVOKED: " + certificate.Retired.Words()}
		}
		if mode == "halted" {
			s.Board, s.Halt, s.Days, s.Link = message.StateHalted, arg, -1, "the appliance has halted ("+arg+")"
			s.Refuses, s.Code = s.Link, api.DeviceFault
		}
		say(&api.Response{Final: true, OK: true, Status: s})
		return
	}
	if req.Op == api.OpLog {
		finder, err := find.New(*cmp.Or(req.Find, &find.Query{}))
		if err != nil {
			say(&api.Response{Final: true, Code: api.Usage, Error: err.Error()})
			return
		}
		for i, e := range f.Entries {
			if !must(finder.Match(e)) {
				continue
			}
			say(&api.Response{Entry: &api.Entry{Index: uint64(i), Committed: i == 0, Text: e}})
		}
		say(&api.Response{Final: true, OK: true})
		return
	}
	switch req.Op {
	case api.OpMay:
		r := &api.Response{Final: true, OK: mode != "small"}
		if it := req.Items[0]; !r.OK {
			r.Code, r.Error = api.Refused, fmt.Sprintf("the policy refuses: %s: %d bytes, class %s allows 100", it.Name, it.Size, req.Class)
		}
		say(r)
		return
	case api.OpRound:
		say(rounds(&req, mode, arg))
		return
	case api.OpWatch:
		f.watched(&req, say)
		return
	case api.OpOrder:
		must(0, os.WriteFile(arg, req.Note, 0o644))
		o := &api.Order{State: message.EventShown}
		if req.Decision {
			say(&api.Response{Event: &api.Event{State: message.EventShown}})
			o = &api.Order{State: api.OrderInForce, Entry: 7}
		}
		say(&api.Response{Final: true, OK: true, Order: o})
		return
	case api.OpChallenge:
		say(&api.Response{Final: true, OK: true, Answer: f.answers(req.Text)})
		return
	case api.OpJobs:
		r := &api.Response{Final: true, OK: true}
		if f.kept != nil {
			r.Jobs = []api.Job{{Job: f.kept.Job, State: "signed", Class: "test", Names: f.name, Created: "2026-03-02T12:00:00Z"}}
		}
		say(r)
		return
	case api.OpFetch:
		if f.kept == nil || req.Job != f.kept.Job {
			say(&api.Response{Final: true, Code: api.Usage, Error: "job " + req.Job + " is not kept here (any more): see touchmark jobs"})
			return
		}
		say(f.kept)
		f.taken(lines)
		return
	}
	r := f.answer(&req)
	say(&api.Response{Event: &api.Event{State: "shown", Job: r.Job}})
	switch mode {
	case "swap": // the signatures of a batch exchanged
		slices.Reverse(r.Signatures)
	case "short":
		r.Signatures = r.Signatures[1:]
	case "forge": // a good signature, but by a log that is not pinned
		r = newFixture().answer(&req)
	case "change":
		must(0, os.WriteFile(arg, []byte("other content"), 0o644))
	case "block": // a directory appears where the signature should go
		must(0, os.Mkdir(arg, 0o755))
	case "gone":
		return
	case "keep": // signed, but the client hears nothing of it
		f.kept, f.name = r, nil
		for _, it := range req.Items {
			f.name = append(f.name, it.Name)
		}
		must(0, os.WriteFile(arg, []byte(r.Job), 0o644))
		return
	case "fail":
		var code int
		must(fmt.Sscan(arg, &code))
		r = &api.Response{Final: true, Code: code, Error: "so says the daemon"}
	}
	say(r)
}

// taken forgets the answer when the client says that it has used it.
func (f *fixture) taken(lines *api.Lines) {
	var next api.Request
	if lines.Read(&next) == nil && next.Op == api.OpTaken {
		f.kept = nil
	}
}

func evidenceOf(mode, arg string) string {
	if mode == "evidence" {
		return arg
	}
	return ""
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
