package published

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

const origin = "touchmark.example/demo"

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// signer is a token and its log.
type signer struct {
	t      *testing.T
	priv   *ecdsa.PrivateKey
	key    *signing.Key
	format sigformat.Format
	index  uint64
	log    [][]byte
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.NewKey(&priv.PublicKey, noon)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t: t, priv: priv, key: key, format: sigformat.OpenPGPBinary}
}

func state(content string) []hashstate.State {
	h := hashstate.New(message.SHA256)
	if _, err := h.Write([]byte(content)); err != nil {
		panic(err) // a hash never fails
	}
	return []hashstate.State{h.State()}
}

// sign makes a signature and, if logged, its intent and outcome.
func (s *signer) sign(name, content string, logged bool, outcome ledger.State) []byte {
	s.t.Helper()
	st, err := s.format.Digest(message.SHA256, strings.NewReader(content))
	s.must(err)
	a := message.Approval{Origin: origin, Class: "c", Nonce: [16]byte{byte(s.index), byte(s.index >> 8)}, NotAfter: noon.Add(time.Hour),
		Items: []message.Item{{Format: s.format.Name, Digest: message.Digest{Alg: st.Alg(), Sum: st.Digest()}, Size: st.Count(), Name: name}}}
	text := a.Marshal()
	job := message.JobOf(text)
	plan, err := s.format.Plan(s.key, st, noon, origin, job)
	s.must(err)
	raw, err := s.priv.Sign(rand.Reader, plan.Digest, crypto.SHA256)
	s.must(err)
	sig, err := plan.Finish(raw)
	s.must(err)
	s.index += 2
	if !logged {
		return sig
	}
	approval, err := message.SignNote(text)
	s.must(err)
	s.add(s.index-2, &ledger.Intent{Sequence: 1, Key: s.key.Fingerprint(), Job: job, Approval: approval, Submission: []byte("s\n\n"),
		SignDigests: []message.Digest{{Alg: plan.Alg, Sum: plan.Digest}}})
	item := ledger.ItemResult{State: outcome}
	if outcome == ledger.Signed {
		item.Signature = sig
	}
	s.add(s.index-1, &ledger.Outcome{Intent: s.index - 2, Job: job, Items: []ledger.ItemResult{item}})
	return sig
}

func (s *signer) add(index uint64, body any) {
	e, err := ledger.Marshal(ledger.Header{Index: index, Time: noon}, body)
	s.must(err)
	s.log = append(s.log, e)
}

// ring is the key as the trust has it.
func (s *signer) ring() certificate.Keyring { return certificate.Keyring{{Key: s.key}} }

func (s *signer) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *signer) match(r *Repository) (out []string) {
	m := r.Against(func(f Found) error { out = append(out, string(f.State)+" "+f.File); return nil })
	for _, e := range s.log {
		h, _, err := ledger.Parse(e)
		s.must(err)
		s.must(m.Entry(h.Index, e))
	}
	s.must(m.Finish())
	slices.Sort(out)
	return out
}

// What somebody signed around the log is named: the trace that is left is the
// signature itself.
func TestStates(t *testing.T) {
	s, stranger := newSigner(t), newSigner(t)
	r := New(s.ring(), origin)
	r.Add("good.sig", s.sign("good", "good", true, ledger.Signed), state("good"))
	r.Add("around.sig", s.sign("around", "around", false, ""), state("around"))
	r.Add("stranger.sig", stranger.sign("x", "x", false, ""), state("x"))
	r.Add("changed.sig", s.sign("changed", "before", true, ledger.Signed), state("after"))
	r.Add("alone.sig", s.sign("alone", "alone", true, ledger.Signed), nil)
	r.Add("stolen.sig", s.sign("stolen", "stolen", true, ledger.TimedOut), state("stolen"))
	r.Add("garbage.sig", []byte("garbage"), nil)
	s.sign("old", "old", true, ledger.Signed)
	s.sign("old", "new", true, ledger.Signed)
	s.sign("denied", "denied", true, ledger.Denied)
	want := []string{"file-missing alone.sig", "never-published old", "perhaps-signed denied", "published good.sig", "published stolen.sig",
		"signature-foreign garbage.sig", "signature-foreign stranger.sig", "signature-mismatch changed.sig", "signature-unlogged around.sig", "superseded old"}
	if got := s.match(r); !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A keyring under the name of a signature is no signature by others; with a signature over a file in it, it is one.
func TestKeyrings(t *testing.T) {
	s := newSigner(t)
	cert, err := certificate.New(s.key, "a <a@example.org>", func(digest []byte, h crypto.Hash) ([]byte, error) { return s.priv.Sign(rand.Reader, digest, h) })
	s.must(err)
	sig := s.sign("x", "x", false, "")
	newer := func(tag byte, length []byte, n int) []byte {
		return slices.Concat([]byte{0xc0 | tag}, length, make([]byte, n))
	}
	for name, file := range map[string][]byte{
		"certificate archive-keyring.gpg": cert,
		"certificate KEYS.asc":            openpgp.Armor(cert),
		"certificate two.gpg":             slices.Concat(cert, cert),
		"certificate newer.gpg":           slices.Concat(newer(6, []byte{5}, 5), newer(13, []byte{192, 8}, 200), newer(17, []byte{255, 0, 0, 1, 0}, 256)),
		"signature-foreign cut.gpg":       cert[:len(cert)-1],
		"signature-foreign parts.gpg":     slices.Concat(newer(6, []byte{225}, 2), newer(13, []byte{2}, 2)),
		"signature-unlogged hidden.gpg":   slices.Concat(cert, sig),
		"signature-unlogged hidden.asc":   slices.Concat(openpgp.Armor(cert), openpgp.ArmorSignature(sig)),
		"signature-foreign late.gpg":      slices.Concat(cert[len(cert)/2:], cert),
		"signature-foreign huge.gpg":      {0x9a, 0xff, 0xff, 0xff, 0xff, 4},
		"signature-foreign empty.gpg":     {},
	} {
		for _, over := range [][]hashstate.State{nil, state("beside it")} {
			r := New(s.ring(), origin)
			r.Add(strings.Fields(name)[1], file, over)
			if got := s.match(r); !slices.Equal(got, []string{name}) {
				t.Errorf("%s is %q", name, got)
			}
		}
	}
}

// Metadata and envelopes are over what they hold, beside whatever file they lie;
// each signature in them that names a key of the log is looked at, others are not.
func TestEnclosed(t *testing.T) {
	s, stranger := newSigner(t), newSigner(t)
	r := New(s.ring(), origin)
	envelope, _ := sigformat.FormatOf("dsse-in-toto")
	const link, payload = `{"_type":"link","name":"build"}`, `{"_type":"https://in-toto.io/Statement/v1"}`
	file := func(by *signer, f sigformat.Format, around, content string, logged bool) []byte {
		by.format = f
		b, err := f.Enclose(by.key, []byte(around), by.sign("x", content, logged, ledger.Signed))
		s.must(err)
		return b
	}
	add := func(name string, content []byte) {
		covers, ok := Covers(name)
		if !ok {
			t.Fatalf("%s is not looked at", name)
		}
		st, err := r.Hash(content, func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("beside " + covers)), nil
		})
		s.must(err)
		r.Add(name, content, st)
	}
	both := file(stranger, sigformat.InTotoNative, link, link, false)
	add("a.link", file(s, sigformat.InTotoNative, string(both), link, true))
	add("a.json", file(s, envelope, payload, payload, true))
	add("b.json.sig", file(s, envelope, payload, `{"b":1}`, true))
	add("c.layout", file(s, sigformat.InTotoNative, link, `{"_type":"link","name":"evil"}`, false))
	stolen := file(s, envelope, `{"g":1}`, `{"g":1}`, false)
	add("g.dsse", []byte(strings.Replace(string(stolen), `"keyid"`, `"id"`, 1))) // DSSE's readers try every key
	add("d.dsse", file(s, envelope, `{"d":1}`, `{"d":1}`, false))
	add("e.link", file(stranger, sigformat.InTotoNative, link, link, false))
	for name, none := range map[string]string{"f.json": `{"no":"signature"}`, "g.json": `{"payload":"e30=","signatures":[]}`, "h.json": `["a"]`, "i.link": link, "j.layout": "no JSON", "k.json": ""} {
		add(name, []byte(none)) // which is nobody's
	}
	add("l.json", []byte(`{"payload":"e30=","payloadType":"text/plain","signatures":[{"sig":"AAAA"}]}`))
	want := []string{"never-published x", "published a.json", "published a.link", "signature-foreign e.link", "signature-foreign l.json",
		"signature-mismatch b.json.sig", "signature-mismatch c.layout", "signature-unlogged d.dsse", "signature-unlogged g.dsse"}
	if got := s.match(r); !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// However a file is written so that programs of others read a signature of the log's key in it and ours would not take it
// for an envelope or metadata, it is found.
func TestEnclosedAroundUs(t *testing.T) {
	s, stranger := newSigner(t), newSigner(t)
	r := New(s.ring(), origin)
	envelope, _ := sigformat.FormatOf("dsse-in-toto")
	stolen := func(f sigformat.Format, content string) string {
		s.format = f
		b, err := f.Enclose(s.key, []byte(content), s.sign("x", content, false, ""))
		s.must(err)
		return string(b)
	}
	dsse, link := stolen(envelope, `{"_type":"https://in-toto.io/Statement/v1","n":"\u00ff\u00fe"}`), stolen(sigformat.InTotoNative, `{"_type":"link","name":"evil"}`)
	sig := regexp.MustCompile(`"sig": "([^"]*)"`).FindStringSubmatch(dsse)[1]
	other, err := sigformat.InTotoNative.Enclose(stranger.key, []byte(`{"_type":"link","name":"good"}`), func() []byte {
		stranger.format = sigformat.InTotoNative
		return stranger.sign("x", `{"_type":"link","name":"good"}`, false, "")
	}())
	s.must(err)
	files := map[string]string{
		"more.dsse":       strings.Replace(dsse, `"payload":`, `"more": {"a": [1e400]}, "payload":`, 1),
		"more.link":       strings.Replace(link, `"signatures":`, `"more": null, "signatures":`, 1),
		"payload.dsse":    strings.Replace(dsse, `"payload":`, `"payload": "e30=", "payload":`, 1),
		"payload2.dsse":   strings.Replace(dsse, `"payloadType":`, `"payload": "e30=", "payloadType":`, 1),
		"type.dsse":       strings.Replace(dsse, `"payloadType":`, `"payloadType": "application/vnd.x+json", "payloadType":`, 1),
		"sig.dsse":        strings.Replace(dsse, `"sig":`, `"sig": "AAAA", "sig":`, 1),
		"sig2.dsse":       strings.Replace(dsse, `"keyid":`, `"more": 1, "sig": "`+sig+`", "keyid":`, 1),
		"url.dsse":        strings.Replace(dsse, sig, strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(sig), 1),
		"lines.dsse":      strings.Replace(dsse, sig, sig[:8]+`\n`+sig[8:], 1),
		"signed.link":     strings.Replace(link, `"signed":`, `"signed": {}, "signed":`, 1),
		"list.link":       strings.Replace(link, `"signatures":`, `"signatures": [], "signatures":`, 1),
		"two.link":        strings.Replace(string(other), `"signatures":`, `"signatures": `+regexp.MustCompile(`(?s)\[.*\]`).FindString(link)+`, "signatures":`, 1),
		"behind.dsse":     dsse + "{}",
		"byte-order.link": "\ufeff" + link,
	}
	for name, content := range files {
		st, err := r.Hash([]byte(content), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil })
		s.must(err)
		r.Add(name, []byte(content), st)
	}
	var want []string
	for name := range files {
		states := []string{"signature-unlogged"}
		switch name {
		case "two.link":
			states = []string{"signature-mismatch"}
		case "payload.dsse", "payload2.dsse", "type.dsse", "sig.dsse", "signed.link": // to some readers the one, to others the other
			states = append(states, "signature-mismatch")
		}
		for _, state := range states {
			want = append(want, state+" "+name)
		}
	}
	slices.Sort(want)
	if got := slices.Compact(s.match(r)); !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A text with its signature is over itself; detached ones over text are over
// their file's text; neither hides another text.
func TestTexts(t *testing.T) {
	s := newSigner(t)
	r := New(s.ring(), origin)
	clear := func(format sigformat.Format, signed, shown string) []byte {
		s.format = format
		file, err := openpgp.Clearsign([]byte(shown), s.sign("Release", signed, true, ledger.Signed))
		s.must(err)
		return file
	}
	add := func(name string, sig []byte, file string) {
		st, err := r.Hash(sig, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(file)), nil })
		s.must(err)
		r.Add(name, sig, st)
	}
	add("InRelease", clear(sigformat.OpenPGPCleartext, "Suite: stable \n", "Suite: stable\n"), "")
	add("evil/InRelease", clear(sigformat.OpenPGPCleartext, "Suite: stable\n", "Suite: evil\n"), "")
	add("other/InRelease", clear(sigformat.OpenPGPText, "Suite: old \n", "Suite: old\n"), "")
	s.format = sigformat.OpenPGPText
	add("notes.asc", openpgp.ArmorSignature(s.sign("notes", "a\nb\n", true, ledger.Signed)), "a\r\nb\n")
	add("bad.asc", openpgp.ArmorSignature(s.sign("bad", "a\nb\n", true, ledger.Signed)), "a\nc\n")
	add("control.asc", openpgp.ArmorSignature(s.sign("control", "a\n", true, ledger.Signed)), "a\x00\n")
	s.format = sigformat.OpenPGPBinary
	add("bytes.sig", s.sign("bytes", "a\n", true, ledger.Signed), "a\r\n")
	want := []string{"file-missing control.asc", "published InRelease", "published notes.asc",
		"signature-mismatch bad.asc", "signature-mismatch bytes.sig", "signature-mismatch evil/InRelease", "signature-mismatch other/InRelease"}
	if got := s.match(r); !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// SSH and raw signatures name no job: they are found by their file.
func TestOtherFamilies(t *testing.T) {
	for _, name := range []string{"sshsig-git", "raw-boot"} {
		s, stranger := newSigner(t), newSigner(t)
		bare, err := certificate.Parse(certificate.NewBare(s.key))
		s.must(err)
		format, _ := sigformat.FormatOf(name)
		s.format, stranger.format = format, format
		r := New(certificate.Keyring{bare}, origin)
		add := func(name string, sig []byte, file string) {
			over, err := r.Hash(sig, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(file)), nil })
			s.must(err)
			r.Add(name, sig, over)
		}
		add("good.sig", s.sign("good", "good", true, ledger.Signed), "good")
		add("around.sig", s.sign("around", "around", false, ""), "around")
		add("stolen.sig", s.sign("stolen", "stolen", true, ledger.TimedOut), "stolen")
		add("changed.sig", s.sign("changed", "before", true, ledger.Signed), "after")
		add("stranger.sig", stranger.sign("x", "x", false, ""), "x")
		add("garbage.sig", []byte("garbage"), "y")
		want := []string{"never-published changed", "published good.sig", "published stolen.sig", "signature-foreign changed.sig",
			"signature-foreign garbage.sig", "signature-foreign stranger.sig", "signature-unlogged around.sig"}
		if got := s.match(r); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s, want\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// An intent of the same job that announced something else is no excuse.
func TestSameJobOtherSignature(t *testing.T) {
	s := newSigner(t)
	sig := s.sign("good", "good", true, ledger.Signed)
	p, err := openpgp.ParseSignature(sig)
	s.must(err)
	plan, err := sigformat.OpenPGPBinary.Plan(s.key, state("evil")[0], noon, origin, p.Job)
	s.must(err)
	raw, err := s.priv.Sign(rand.Reader, plan.Digest, crypto.SHA256)
	s.must(err)
	evil, err := plan.Finish(raw)
	s.must(err)
	r := New(s.ring(), origin)
	r.Add("evil.sig", evil, state("evil"))
	want := []string{"never-published good", "signature-unlogged evil.sig"}
	if got := s.match(r); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCovers(t *testing.T) {
	for name, want := range map[string]string{
		"a/x.db.sig": "a/x.db", "Release.gpg": "Release", "x.asc": "x", "x.sign": "x", "d/InRelease": "d/InRelease", "x.db": "", ".sig": "", "a/.sig": "",
	} {
		if got, ok := Covers(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\nComment: x\n\niQ==\n=abcd\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n"))
	f.Add([]byte(`{"signatures": [{"sig": "AA", "sig": "_-=="}], "payloadType": "application/vnd.x+json", "payload": "e30", "signed": {}, "signed": {"a": 1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, s, f, err := read(b); err == nil && (s == nil || len(f.Packet) == 0) {
			t.Error("nothing was read")
		}
		for _, x := range readings(b) {
			if len(x.document) == 0 || len(x.formats) == 0 || len(x.objects) == 0 {
				t.Errorf("a reading of nothing: %+v", x)
			}
		}
	})
}
