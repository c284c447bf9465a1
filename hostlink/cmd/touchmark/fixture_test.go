package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

const testOrigin = "touchmark.example/test"

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// fixture is a log with real keys and a TPM in memory, and a daemon that
// answers from it: honestly, or as the test wants.
type fixture struct {
	tpm     *quotetest.TPM
	log     note.Signer
	priv    *ecdsa.PrivateKey
	key     *sigformat.Key
	trust   anchor.Trust
	entries [][]byte
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newFixture() *fixture {
	f := &fixture{tpm: quotetest.New(), priv: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	f.key = must(sigformat.NewKey(f.priv.Public(), noon.Add(-time.Hour)))
	skey, vkey, err := note.GenerateKey(rand.Reader, testOrigin)
	f.log = must(note.NewSigner(must(skey, err)))
	cert := must(sigformat.Certificate(f.key, "Test <test@touchmark.example>", f.sign))
	g := &ledger.Genesis{
		Origin: testOrigin, LogKey: vkey, AK: f.tpm.Public(), Creation: f.tpm.Creation(make([]byte, 32)),
		Head: f.tpm.HeadIndex, HeadName: f.tpm.HeadName(), PCR: f.tpm.PCRIndex,
		Token: ledger.TokenInfo{Serial: 1, Firmware: "5.7.1", Emulated: true},
		Key: ledger.TokenKey{Name: "packages", Slot: "9c", Family: "openpgp-data", Algorithm: "p256",
			Fingerprint: f.key.Fingerprint(), SPKI: must(x509.MarshalPKIXPublicKey(f.priv.Public()))},
		Attestation: ledger.TokenAttestation{Slot: []byte("slot"), Intermediate: []byte("intermediate")},
		Cert:        cert, Policy: must(message.SignNote([]byte("not looked at here\n"))),
	}
	f.append(g)
	f.trust = *anchor.TrustOf(f.entries[0], g)
	return f
}

func (f *fixture) append(body any) uint64 {
	i := uint64(len(f.entries))
	f.entries = append(f.entries, must(ledger.Marshal(ledger.Header{Index: i, Time: noon}, body)))
	return i
}

// answer signs what a request asks for, with intent, commit and proof.
func (f *fixture) answer(req *api.Request) *api.Response {
	a := message.Approval{Origin: testOrigin, Class: "test", NotAfter: noon.Add(time.Hour)}
	_, err := rand.Read(a.Nonce[:])
	must(0, err)
	var states []sigformat.State
	for _, it := range req.Items {
		d := must(message.ParseDigest(it.Digest))
		a.Items = append(a.Items, message.Item{Format: it.Format, Digest: d, Size: it.Size, Name: it.Name})
		states = append(states, must(sigformat.ParseState(d.Alg, it.State)))
	}
	job := message.JobOf(a.Marshal())
	in := &ledger.Intent{Sequence: 1, Key: f.key.Fingerprint(), Job: job, Approval: must(message.SignNote(a.Marshal())),
		Submission: must(message.SignNote([]byte("not looked at here\n")))}
	r := &api.Response{Final: true, OK: true, Job: job.String()}
	for _, s := range states {
		p := must(sigformat.PlanOpenPGP(f.key, s, noon, testOrigin, job))
		in.SignDigests = append(in.SignDigests, message.Digest{Alg: p.Alg, Sum: p.Digest})
		r.Signatures = append(r.Signatures, must(p.Finish(must(f.priv.Sign(rand.Reader, p.Digest, p.Alg.Hash())))))
	}
	proof := f.commit(f.append(in))
	for range states {
		r.Proofs = append(r.Proofs, proof)
	}
	return r
}

// commit commits all entries and proves the one at index i.
func (f *fixture) commit(i uint64) []byte {
	n := uint64(len(f.entries))
	var tree ledger.Tree
	for _, e := range f.entries {
		tree.Add(ledger.LeafHash(e))
	}
	body := ledger.CheckpointBody(testOrigin, n, tree.Root())
	prev, x := f.tpm.Head, ledger.X(body)
	f.tpm.ExtendHead(x)
	cp := must(anchor.SignCheckpoint(body, f.log, f.trust, prev, f.tpm.CertifyHead(quote.CertifyTag(x))))
	p := ledger.Proof{Origin: testOrigin, Index: i, Size: n, Intent: f.entries[i], Path: f.path(i), Checkpoint: cp}
	return must(p.Marshal())
}

// path is RFC 6962's audit path, computed the slow and obvious way.
func (f *fixture) path(i uint64) [][32]byte {
	var leaves [][32]byte
	for _, e := range f.entries {
		leaves = append(leaves, ledger.LeafHash(e))
	}
	return auditPath(leaves, i)
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
	if req.Op == api.OpStatus {
		say(&api.Response{Final: true, OK: true, Status: &api.Status{Origin: testOrigin, Link: arg, Verified: mode == "good", Evidence: evidenceOf(mode, arg)}})
		return
	}
	if req.Op == api.OpLog {
		for i, e := range f.entries {
			say(&api.Response{Entry: &api.Entry{Index: uint64(i), Committed: i == 0, Text: e}})
		}
		say(&api.Response{Final: true, OK: true})
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
	case "fail":
		var code int
		must(fmt.Sscan(arg, &code))
		r = &api.Response{Final: true, Code: code, Error: "so says the daemon"}
	}
	say(r)
}

func evidenceOf(mode, arg string) string {
	if mode == "evidence" {
		return arg
	}
	return ""
}

// auditPath is PATH(m, D[n]) of RFC 6962 section 2.1.1.
func auditPath(d [][32]byte, m uint64) [][32]byte {
	if len(d) <= 1 {
		return nil
	}
	k := uint64(1)
	for 2*k < uint64(len(d)) {
		k *= 2
	}
	if m < k {
		return append(auditPath(d[:k], m), rootOf(d[k:]))
	}
	return append(auditPath(d[k:], m-k), rootOf(d[:k]))
}

func rootOf(d [][32]byte) [32]byte {
	var t ledger.Tree
	for _, h := range d {
		t.Add(h)
	}
	return t.Root()
}

func (f *fixture) sign(digest []byte, h crypto.Hash) ([]byte, error) {
	return f.priv.Sign(rand.Reader, digest, h)
}

// writeTrust puts the trust file where scripts find it.
func (f *fixture) writeTrust(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, api.TrustFile), must(f.trust.Marshal()), 0o644)
}
