package audit

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

const origin = "touchmark.example/demo"

// world is an appliance made of software: TPM, token, keys and clock, writing
// a log in the order the real one does. Tests make it lie.
type world struct {
	t     testing.TB
	tpm   *quotetest.TPM
	host  note.Signer
	log   note.Signer
	admin note.Signer
	toml  string // of the policy in force
	pol   *policy.Policy
	token *ecdsa.PrivateKey
	made  string // format that is signed whatever was asked for; "": that which was
	key   *signing.Key
	cert  *certificate.Certificate // in force
	other held                     // what the token has beside it
	trust *anchor.Trust
	roots *attest.Roots

	now     time.Time
	entries [][]byte
	tree    ledger.Tree
	root    map[uint64][32]byte // by size
	boots   uint64
	seq     uint64
	jobs    uint64
	newest  uint64 // administrative entry that took effect last
	ordered int    // orders made
	version string // of the firmware
	over    bool   // the log was closed

	committed uint64 // size HEAD stands at
	prev      [32]byte
	x         [32]byte
	shown     *shown // the newest checkpoint
	published func() // called when there is a newer one, may be nil
	hostSize  uint64 // what the host has verified
}

// parts may be changed by a test before the genesis entry is written.
type parts struct {
	firmware string
	genuine  bool // the token's chain ends at roots
	touch    byte
	keys     func([]ledger.TokenKey) // before the TPM vouches for them
	genesis  func(*ledger.Genesis)
	rates    string
	more     string   // tables that the policy has too
	second   bool     // the log has a second key, for class media
	head     [32]byte // HEAD before the log begins
}

func signer(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return s, vkey
}

func newWorld(t testing.TB, p parts) *world {
	t.Helper()
	w := &world{t: t, tpm: quotetest.New(), now: time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC), root: map[uint64][32]byte{0: ledger.EmptyRoot()}}
	var vkey, hostKey, adminKey string
	w.log, vkey = signer(t, origin)
	w.host, hostKey = signer(t, "repo1")
	w.admin, adminKey = signer(t, "admin")
	w.version, w.tpm.Head = "test", p.head
	if p.rates == "" {
		p.rates = `"60/1h", "500/1d"`
	}
	w.toml = fmt.Sprintf(policyText, adminKey, hostKey, p.rates) + p.more
	if p.second {
		w.toml += secondTables
	}
	policyNote, err := message.SignNote([]byte(w.toml), w.admin)
	w.must(err)
	w.pol, err = policy.Open(policyNote)
	w.must(err)
	w.newTokenKey()
	w.genesis(p, vkey, policyNote)
	return w
}

const policyText = `version = 1
origin = "touchmark.example/demo"
serial = 1
previous = ""
max_skew = "10m"
max_validity = "24h"

[administrators]
quorum = 1
keys = ["%s"]

[[host]]
name = "repo1"
key = "%s"

[[key]]
name = "packages"
slot = "9c"
family = "openpgp-data"
algorithm = "p256"

[[class]]
name = "pacman-db"
keys = ["packages"]
hosts = ["repo1"]
names = ["*.db.tar.gz", "*.files.tar.gz"]
formats = ["openpgp-binary"]
max_size = "4GiB"
rates = [%s]
approvals = 0
batch = 16
`

const secondTables = `
[[key]]
name = "media"
slot = "82"
family = "openpgp-data"
algorithm = "p256"

[[class]]
name = "iso"
keys = ["media"]
hosts = ["repo1"]
names = ["*.db.tar.gz"]
formats = ["openpgp-binary"]
max_size = "4GiB"
rates = ["60/1h"]
approvals = 0
batch = 16
`

// record is what the log says of a key.
func (w *world) record(p parts, name, slot string) ledger.TokenKey {
	leaf, device := w.attestation(p, slot)
	spki, err := x509.MarshalPKIXPublicKey(&w.token.PublicKey)
	w.must(err)
	return ledger.TokenKey{Name: name, Slot: slot, Family: "openpgp-data", Algorithm: "p256", Fingerprint: w.key.Fingerprint(), SPKI: spki,
		Token:       ledger.TokenInfo{Serial: 1234567, Firmware: p.firmware, Emulated: !p.genuine},
		Attestation: ledger.TokenAttestation{Slot: leaf, Intermediate: device}, Cert: w.cert.Bytes()}
}

// newTokenKey makes the key that the token signs with from now on.
func (w *world) newTokenKey() {
	var err error
	w.token, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	w.key, err = signing.NewKey(&w.token.PublicKey, w.now)
	w.must(err)
	cert, err := certificate.New(w.key, "Demo <demo@example.org>", func(d []byte, _ crypto.Hash) ([]byte, error) { return w.sign(d), nil })
	w.must(err)
	w.cert, err = certificate.Parse(cert)
	w.must(err)
}

// held is a key with which the token can sign.
type held struct {
	token *ecdsa.PrivateKey
	key   *signing.Key
	cert  *certificate.Certificate
}

// swap has the token sign with the world's other key.
func (w *world) swap() {
	w.other, w.token, w.key, w.cert = held{w.token, w.key, w.cert}, w.other.token, w.other.key, w.other.cert
}

// pass lets time pass, for the appliance and the TPM alike.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.tpm.Clock.Millis += uint64(d / time.Millisecond)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sign(digest []byte) []byte {
	sig, err := ecdsa.SignASN1(rand.Reader, w.token, digest)
	w.must(err)
	return sig
}

func (w *world) genesis(p parts, vkey string, policyNote []byte) {
	if p.firmware == "" {
		p.firmware = "5.7.1"
	}
	g := &ledger.Genesis{
		Origin: origin, LogKey: vkey, AK: w.tpm.Public(), Head: w.tpm.HeadIndex, HeadName: w.tpm.HeadName(), PCR: w.tpm.PCRIndex,
		Keys: []ledger.TokenKey{w.record(p, "packages", "9c")}, Policy: policyNote,
	}
	if p.second {
		w.other = held{w.token, w.key, w.cert}
		w.newTokenKey()
		g.Keys = append(g.Keys, w.record(p, "media", "82"))
		w.swap()
	}
	if p.keys != nil {
		p.keys(g.Keys)
	}
	g.Creation = w.tpm.Creation(ledger.OutsideInfo(origin, g.Attestations(), g.Nonce))
	if p.genesis != nil {
		p.genesis(g)
	}
	w.add(g)
	w.trust = anchor.TrustOf(w.entries[0], g)
	w.commit()
	w.attest()
}

// attestation makes a token's certificates: root, device, slot.
func (w *world) attestation(p parts, slot string) (leaf, device []byte) {
	if p.touch == 0 {
		p.touch = 2
	}
	var a, b, c byte
	_, err := fmt.Sscanf(p.firmware, "%d.%d.%d", &a, &b, &c)
	w.must(err)
	serial, err := asn1.Marshal(1234567)
	w.must(err)
	rootKey, deviceKey := w.newKey(), w.newKey()
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
			NotBefore: w.now, NotAfter: w.now.AddDate(20, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	}
	ext := func(last int, v []byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, last}, Value: v}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "YubiKey PIV Attestation " + slot}, NotBefore: w.now, NotAfter: w.now.AddDate(20, 0, 0),
		ExtraExtensions: []pkix.Extension{ext(3, []byte{a, b, c}), ext(7, serial), ext(8, []byte{2, p.touch})}}
	root := w.certificate(ca("Root"), ca("Root"), &rootKey.PublicKey, rootKey)
	dev := w.certificate(ca("Device"), root, &deviceKey.PublicKey, rootKey)
	s := w.certificate(template, dev, &w.token.PublicKey, deviceKey)
	if p.genuine {
		w.roots = attest.NewRoots(root)
	}
	return s.Raw, dev.Raw
}

func (w *world) newKey() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	return k
}

func (w *world) certificate(template, parent *x509.Certificate, pub, by any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, by)
	w.must(err)
	c, err := x509.ParseCertificate(der)
	w.must(err)
	return c
}

// add appends an entry with the present time.
func (w *world) add(body any) uint64 {
	w.t.Helper()
	e, err := ledger.Marshal(ledger.Header{Index: uint64(len(w.entries)), Time: w.now}, body)
	w.must(err)
	return w.addRaw(e)
}

func (w *world) addRaw(e []byte) uint64 {
	w.entries = append(w.entries, e)
	w.tree.Add(ledger.LeafHash(e))
	w.root[w.tree.Size()] = w.tree.Root()
	return w.tree.Size() - 1
}

func (w *world) body(size uint64) []byte { return ledger.CheckpointBody(origin, size, w.root[size]) }

// commit extends HEAD and the PCR by all entries so far.
func (w *world) commit() {
	w.commitHead()
	w.tpm.ExtendPCR(w.x)
}

func (w *world) commitHead() {
	w.committed, w.prev = w.tree.Size(), w.tpm.Head
	w.x = ledger.X(w.body(w.committed))
	w.tpm.ExtendHead(w.x)
}

// attest appends the attestations of the newest commit and publishes the
// checkpoint.
func (w *world) attest() {
	w.t.Helper()
	a := &ledger.Attest{Size: w.committed, Certify: w.tpm.CertifyHead(quote.CertifyTag(w.x)), Quote: w.tpm.QuotePCR(quote.QuoteTag(w.x))}
	w.publish(a.Certify)
	w.add(a)
}

func (w *world) publish(certify quote.Attestation) {
	w.t.Helper()
	w.shown, w.hostSize = &shown{w.body(w.committed), w.log, *w.trust, w.prev, certify, nil}, w.committed
	if w.published != nil {
		w.published()
	}
}

// shown is a checkpoint, signed when somebody wants to see it: most are
// followed by the next one.
type shown struct {
	body    []byte
	log     note.Signer
	trust   anchor.Trust
	prev    [32]byte
	certify quote.Attestation
	note    []byte
}

func (w *world) checkpoint() []byte {
	w.t.Helper()
	p := w.shown
	if p.note == nil {
		var err error
		p.note, _, err = anchor.SignCheckpoint(p.body, p.log, p.trust, p.prev, p.certify)
		w.must(err)
	}
	return p.note
}

func (w *world) boot(lies ...func(*ledger.Boot)) uint64 {
	w.boots++
	tag := quote.BootTag(w.x)
	b := &ledger.Boot{Number: w.boots, Firmware: w.version, Clock: ledger.ClockOperator, Policy: w.pol.Hash, Admin: w.newest, Committed: w.committed,
		Head: w.tpm.Head, PCR: w.tpm.PCR, Certify: w.tpm.CertifyHead(tag), Quote: w.tpm.QuotePCR(tag), Recovery: "clean"}
	for _, lie := range lies {
		lie(b)
	}
	return w.add(b)
}

// job is one ceremony in the making.
type job struct {
	w        *world
	approval message.Approval
	states   []hashstate.State
	plans    []*signing.Plan
	intent   *ledger.Intent
	index    uint64
	outcome  *ledger.Outcome
}

// newJob asks for n artifacts; the functions make it lie before it is signed.
func (w *world) newJob(n int, lies ...func(a *message.Approval, s *message.Submission)) *job {
	w.t.Helper()
	w.jobs++
	j := &job{w: w, approval: message.Approval{Origin: origin, Class: "pacman-db", Nonce: [16]byte{byte(w.jobs), byte(w.jobs >> 8)}, NotAfter: w.now.Add(time.Hour)}}
	for i := range n {
		alg := []message.Alg{message.SHA256, message.SHA512}[i%2]
		h := hashstate.New(alg)
		fmt.Fprintf(h, "artifact %d of job %d", i, w.jobs)
		s := h.State()
		j.states = append(j.states, s)
		j.approval.Items = append(j.approval.Items, message.Item{
			Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: alg, Sum: s.Digest()}, Size: s.Count(), Name: fmt.Sprintf("demo%d.db.tar.gz", i)})
	}
	sub := message.Submission{HeadSize: w.hostSize, HeadRoot: w.root[w.hostSize], HostTime: w.now}
	for _, lie := range lies {
		lie(&j.approval, &sub)
	}
	text := j.approval.Marshal()
	id := message.JobOf(text)
	sub.Approval = id
	approval, err := message.SignNote(text)
	w.must(err)
	submission, err := message.SignNote(sub.Marshal(), w.host)
	w.must(err)
	w.seq++
	j.intent = &ledger.Intent{Sequence: w.seq, Policy: w.pol.Hash, Key: w.key.Fingerprint(), Job: id, Approval: approval, Submission: submission}
	for i, s := range j.states {
		format, _ := sigformat.FormatOf(cmp.Or(w.made, j.approval.Items[i].Format))
		p, err := format.Plan(w.key, s, w.now, origin, id)
		w.must(err)
		j.plans = append(j.plans, p)
		j.intent.SignDigests = append(j.intent.SignDigests, message.Digest{Alg: p.Alg, Sum: p.Digest})
	}
	return j
}

func (j *job) record() { j.index = j.w.add(j.intent) }

// sign touches the token once an item.
func (j *job) sign() {
	j.outcome = &ledger.Outcome{Intent: j.index, Job: j.intent.Job}
	for _, p := range j.plans {
		sig, err := p.Finish(j.w.sign(p.Digest))
		j.w.must(err)
		j.outcome.Items = append(j.outcome.Items, ledger.ItemResult{State: ledger.Signed, Signature: sig})
	}
}

func (j *job) end(state ledger.State, reason string) {
	j.outcome = &ledger.Outcome{Intent: j.index, Job: j.intent.Job}
	for range j.plans {
		j.outcome.Items = append(j.outcome.Items, ledger.ItemResult{State: state, Reason: reason})
	}
}

// ceremony is the whole of an honest one.
func (w *world) ceremony(n int) *job {
	w.t.Helper()
	w.pass(time.Minute)
	j := w.newJob(n)
	j.run()
	return j
}

func (j *job) run() {
	j.w.t.Helper()
	j.record()
	j.w.commit()
	j.sign()
	j.w.attest()
	j.w.add(j.outcome)
}

// input is what a host publishes.
func (w *world) input() Input {
	size := w.hostSize
	return Input{
		Trust: w.trust, Checkpoint: w.checkpoint(), Entries: from(w.entries[:size]), Pending: slices.Clone(w.entries[size:]), TokenRoots: w.roots,
		Tile: tilesOf(w.entries[:size]),
	}
}

// tilesOf are the hash tiles of a log, as published.
func tilesOf(entries [][]byte) history.TileFunc {
	var tree ledger.Tree
	levels := map[int][]byte{}
	for _, e := range entries {
		for i, h := range tree.Add(ledger.LeafHash(e)) {
			levels[i] = append(levels[i], h[:]...)
		}
	}
	return func(level int, n uint64) []byte {
		all := levels[level*history.TileHeight]
		from := min(n*256*32, uint64(len(all)))
		return all[from:min(from+256*32, uint64(len(all)))]
	}
}

// from gives entries as Input wants them.
func from(entries [][]byte) func(uint64) iter.Seq2[[]byte, error] {
	return func(n uint64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for _, e := range entries[min(n, uint64(len(entries))):] {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// parallel runs on two goroutines, so that -race sees what tasks share.
func parallel(n int, f func(int)) func() {
	var wg sync.WaitGroup
	for part := range 2 {
		wg.Go(func() {
			for i := part; i < n; i += 2 {
				f(i)
			}
		})
	}
	return wg.Wait
}

func audited(t testing.TB, in Input) *report.Report {
	t.Helper()
	in.Start = parallel
	r, err := Run(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func codes(r *report.Report, s finding.Severity) (out []string) {
	for _, f := range r.Findings {
		if f.Severity == s {
			out = append(out, f.Code)
		}
	}
	return out
}

func digestOf(s string) []byte { d := sha256.Sum256([]byte(s)); return d[:] }

func replaceOnce(t testing.TB, b []byte, old, with string) []byte {
	t.Helper()
	out := bytes.Replace(b, []byte(old), []byte(with), 1)
	if bytes.Equal(out, b) {
		t.Fatalf("%q is not in the entry", old)
	}
	return out
}
