package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/sshsig"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tests/world"
	"touchmark/tpm/ledger"
)

// The attacks of a host that was taken over, with its valid key, on what signatures mean. Each has a name under which
// docs/threat-model.md lists it.

// attacked is a board with a key of each family, and a host of the attacker's.
type attacked struct {
	*hostile
	trust *verify.Trust
	gpg   string // a home that trusts the board's certificates
}

func attack(t *testing.T) *attacked {
	t.Helper()
	a := &attacked{hostile: invadedWith(t, world.Config{Profile: "5.7.1", Policy: func(text string) string { return threeFamilies(documents(text)) }})}
	text, err := api.ReadTrust(a.Trust)
	a.must(err)
	a.trust, err = verify.ParseTrust(text)
	a.must(err)
	a.gpg = a.rig.gpg().Home
	return a
}

// key is the certificate of the log's one key of a family and type of keys.
func (a *attacked) key(family, algorithm string) *certificate.Certificate {
	for _, c := range a.trust.Keys {
		if c.Fits(family) == nil && c.Key.Algorithm() == algorithm {
			return c
		}
	}
	a.t.Fatalf("no %s key", algorithm)
	return nil
}

// obtains has the operator arm and touch for a request that the policy grants, and takes the signature.
func (a *attacked) obtains(class, format, name, content string) []byte {
	a.t.Helper()
	r := a.asks(class, format, name, content)
	job := r.Job()
	a.say(r.Submit().Marshal())
	hears(a.hostile, func(e *message.Event) bool { return e.Job == job && e.State == message.EventShown })
	a.must(a.Operator("arm " + job.String()))
	hears(a.hostile, func(e *message.Event) bool { return e.Job == job && e.State == message.EventTouch })
	a.must(a.Token.Touch(a.ctx))
	done := hears(a.hostile, func(d *message.Done) bool { return d.Job == job })
	a.fetch(done.Outcome + 1)
	_, body, err := ledger.Parse(a.entries[done.Outcome])
	a.must(err)
	it := body.(*ledger.Outcome).Items[0]
	if it.State != ledger.Signed {
		a.t.Fatalf("%s of class %s: %+v", name, class, it)
	}
	return it.Signature
}

// isRefused wants a refusal before anybody was asked.
func (a *attacked) isRefused(what string, job message.JobID, code string) {
	a.t.Helper()
	for a.refused[job] == nil {
		if e, ok := a.hear().(*message.Event); ok && e.Job == job {
			a.t.Fatalf("%s: %s, not refused as %s", what, e.State, code)
		}
	}
	a.gets(what, job, code)
}

// asks is a request for one artifact.
func (a *attacked) asks(class, format, name, content string) *intaketest.Request {
	r := a.Honest(content)
	r.Approval.Class, r.Approval.Items[0].Format, r.Approval.Items[0].Name = class, format, name
	if f, _ := sigformat.FormatOf(format); f.Document() == sigformat.Demanded {
		r.Contents[0] = message.Content{Document: []byte(content)}
	}
	return r
}

// forgery wants gpg to accept the signature as the board made it, and none of those that the attacker makes of it.
func (a *attacked) forgery(content string, sig []byte, forged map[string][]byte) {
	a.t.Helper()
	file := a.text("content", content)
	if out, err := a.judge("", "gpg", "--homedir", a.gpg, "--verify", a.text("good.sig", string(sig)), file); err != nil {
		a.t.Fatalf("gpg does not take what the board made: %v\n%s", err, out)
	}
	for what, b := range forged {
		if out, err := a.judge("", "gpg", "--homedir", a.gpg, "--verify", a.text("forged.sig", string(b)), file); err == nil {
			a.t.Errorf("gpg takes %s:\n%s", what, out)
		}
	}
}

// body is where a signature packet's begins: behind its header.
func body(sig []byte) int { return 2 + int(sig[0]&1) }

// with changes some bytes of a packet's body.
func with(sig []byte, at int, b ...byte) []byte {
	sig = bytes.Clone(sig)
	copy(sig[body(sig)+at:], b)
	return sig
}

// packets takes a certificate apart: its key, user id and self-signature.
func packets(c *certificate.Certificate) (parts [3][]byte) {
	b := c.Bytes()
	for i := range parts {
		n := 2 + int(b[1])
		if b[0]&1 == 1 {
			n = 3 + int(binary.BigEndian.Uint16(b[1:]))
		}
		parts[i], b = b[:n], b[n:]
	}
	return parts
}

// hashedKey is what certifications and revocations hash of a key.
func hashedKey(key []byte) []byte {
	k := key[body(key):]
	return append(binary.BigEndian.AppendUint16([]byte{0x99}, uint16(len(k))), k...)
}

// TestAttackOnMeaning: whatever content a host has signed, the signature is one over a file, at the board's time, by its
// key; no byte of it can be turned into a certification, a revocation, another time, issuer or protocol. gpg, ssh-keygen
// and the checks of touchmark judge.
func TestAttackOnMeaning(t *testing.T) {
	t.Parallel()
	a := attack(t)
	packages := a.key(sigformat.FamilyOpenPGP, "p256")
	parts := packets(packages)
	t.Run("a certification by content", func(*testing.T) {
		const evil = "Evil <evil@touchmark.example>"
		content := append(hashedKey(parts[0]), append(binary.BigEndian.AppendUint32([]byte{0xb4}, uint32(len(evil))), evil...)...)
		sig := a.obtains("anything", "openpgp-binary", "certification", string(content))
		cert := bytes.Join([][]byte{parts[0], parts[1], parts[2], append([]byte{0xb4, byte(len(evil))}, evil...), with(sig, 1, 0x13)}, nil)
		out := a.imports(cert)
		if strings.Contains(out, "Evil") {
			t.Errorf("gpg takes the user id:\n%s", out)
		}
	})
	t.Run("a revocation by content", func(*testing.T) {
		sig := a.obtains("anything", "openpgp-binary", "revocation", string(hashedKey(parts[0])))
		for _, kind := range []byte{0x20, 0x28} {
			cert := bytes.Join([][]byte{parts[0], with(sig, 1, kind), parts[1], parts[2]}, nil)
			if out := a.imports(cert); !strings.Contains(out, "\nuid:u:") && !strings.Contains(out, "\nuid:-:") || strings.Contains(out, "\npub:r:") {
				t.Errorf("gpg takes the key for revoked:\n%s", out)
			}
		}
	})
	t.Run("another time, type, hash or issuer", func(*testing.T) {
		const content = "a file"
		sig := a.obtains("anything", "openpgp-binary", "file", content)
		other := a.key(sigformat.FamilyInToto, "rsa2048").Key.Fingerprint()
		notation := bytes.Index(sig, []byte("touchmark@")) - body(sig)
		a.forgery(content, sig, map[string][]byte{
			"a text signature": with(sig, 1, 0x01), "another hash": with(sig, 3, 0x0a), "another key's algorithm": with(sig, 2, 0x01),
			"an earlier time": with(sig, 8, 0x50), "another issuer": with(sig, 15, other[:]...), "another log": with(sig, notation, 'T'),
		})
	})
	t.Run("a trailer in the file", func(*testing.T) {
		const content = "a file"
		first := a.obtains("anything", "openpgp-binary", "file", content)
		p := first[body(first):]
		p = with(first, 8, 0x50)[body(first) : body(first)+6+int(binary.BigEndian.Uint16(p[4:]))] // hashed part, another time
		swallowed := content + string(p) + string(binary.BigEndian.AppendUint32([]byte{4, 0xff}, uint32(len(p))))
		sig := a.obtains("anything", "openpgp-binary", "file", swallowed)
		a.forgery(content, first, map[string][]byte{"a signature of the longer file": sig, "one with the swallowed part": with(sig, 0, p...)})
	})
	t.Run("an SSH signature by content", func(*testing.T) { a.asSSH(packages) })
	a.leaves()
}

// imports has a gpg home of its own take a certificate, and tells what it then has.
func (a *attacked) imports(cert []byte) string {
	a.t.Helper()
	home := a.t.TempDir()
	a.must(os.Chmod(home, 0o700))
	_, _ = a.judge("", "gpg", "--homedir", home, "--import", a.text("forged.gpg", string(cert))) // it may refuse
	out, err := a.judge("", "gpg", "--homedir", home, "--with-colons", "--list-keys")
	a.must(err)
	return out
}

// asSSH has the OpenPGP key sign what an SSH signature would be over, and puts the value into one.
func (a *attacked) asSSH(c *certificate.Certificate) {
	a.t.Helper()
	const content, namespace = "a commit", "git"
	str := func(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }
	sum := message.SHA256.Hash().New()
	sum.Write([]byte(content))
	head := str(namespace) + str("") + str("sha256")
	sig := a.obtains("anything", "openpgp-binary", "ssh", "SSHSIG"+head+str(string(sum.Sum(nil))))
	values := mpis(sig)
	public := strings.Fields(sshsig.Public(c.Key))
	kind := public[0]
	blob := "SSHSIG" + "\x00\x00\x00\x01" + str(string(unbase64(public[1]))) + head + str(str(kind)+str(str(mpint(values[0]))+str(mpint(values[1]))))
	forged := a.text("forged.ssh", "-----BEGIN SSH SIGNATURE-----\n"+base64.StdEncoding.EncodeToString([]byte(blob))+"\n-----END SSH SIGNATURE-----\n")
	signers := a.text("allowed", "packager "+strings.Join(public, " ")+"\n")
	out, err := a.judge(content, "ssh-keygen", "-Y", "verify", "-f", signers, "-I", "packager", "-n", namespace, "-s", forged)
	if err == nil || !strings.Contains(out, "incorrect signature") {
		a.t.Errorf("ssh-keygen: %v\n%s", err, out)
	}
}

func unbase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// mpis are the integers of an ECDSA signature packet.
func mpis(sig []byte) (values [2][]byte) {
	b := sig[body(sig)+4:]
	b = b[2+binary.BigEndian.Uint16(b):]   // hashed subpackets
	b = b[2+binary.BigEndian.Uint16(b)+2:] // unhashed ones, two bytes of the digest
	for i := range values {
		n := (int(binary.BigEndian.Uint16(b)) + 7) / 8
		values[i], b = b[2:2+n], b[2+n:]
	}
	return values
}

// mpint is a positive integer as SSH has it.
func mpint(v []byte) string {
	if v[0]&0x80 != 0 {
		return "\x00" + string(v)
	}
	return string(v)
}

// granted are the classes of these tests with an artifact's name and the formats that each allows.
var granted = []struct{ class, name, formats string }{
	{"anything", "a.bin", "openpgp-binary openpgp-text openpgp-cleartext"}, {"apt", "Release", "openpgp-cleartext"}, {"git", "a.commit", "sshsig-git"},
	{"boot", "a.img", "raw-boot"}, {"layouts", "a.layout", "in-toto-gpg"}, {"links", "a.link", "in-toto-native"}, {"statements", "a.json", "dsse-in-toto"},
}

// formats are all there are, labels that no class has, and such as a host might wish there were.
var formats = strings.Fields(`openpgp-binary openpgp-text openpgp-cleartext sshsig-git sshsig-file raw-boot raw-other in-toto-gpg
	in-toto-native dsse-in-toto dsse-other openpgp-certification openpgp-revocation openpgp-13 openpgp-subkey-binding cms csr in-toto dsse raw sshsig`)

// TestAttackByFormat: no class gives a format that is another's, a certification or anything that there is not; nobody is
// asked and nothing is written.
func TestAttackByFormat(t *testing.T) {
	t.Parallel()
	a := attack(t)
	d := a.noDamage()
	for _, g := range granted {
		for _, f := range formats {
			if strings.Contains(" "+g.formats+" ", " "+f+" ") {
				continue
			}
			r := a.asks(g.class, f, g.name, "content")
			a.say(r.Submit().Marshal())
			a.isRefused(f+" of class "+g.class, r.Job(), message.CodeFormatForbidden)
		}
	}
	d.untilNow()
	a.leaves()
}

const (
	oneLink = `{"_type":"link","byproducts":{},"command":[],"environment":{},"materials":{},"name":"build","products":{}}`
	oneSeen = `{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"https://x.example/v1","subject":[{"digest":{"sha256":` +
		`"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"name":"a"}]}`
)

func paeOf(payloadType, payload string) string {
	return fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// TestAttackByDocument: a document that could be read in two ways, of another family, or that is not the approved one, is
// shown to nobody; nor is a state of what must be shown.
func TestAttackByDocument(t *testing.T) {
	t.Parallel()
	a := attack(t)
	d := a.noDamage()
	const native, dsse, inToto = "in-toto-native", "dsse-in-toto", "application/vnd.in-toto+json"
	for _, c := range []struct{ name, class, format, file, doc string }{
		{"a key twice", "links", native, "a.link", strings.Replace(oneLink, `"name":"build"`, `"name":"build","name":"evil"`, 1)},
		{"a key twice, once escaped", "links", native, "a.link", strings.Replace(oneLink, `"name":"build"`, `"name":"build","n\u0061me":"evil"`, 1)},
		{"a key twice, in another case", "links", native, "a.link", strings.Replace(oneLink, `"name":"build"`, `"Name":"evil","name":"build"`, 1)},
		{"trailing bytes", "links", native, "a.link", oneLink + "{}"},
		{"a trailing line end", "links", native, "a.link", oneLink + "\n"},
		{"a byte order mark", "links", native, "a.link", "\xef\xbb\xbf" + oneLink},
		{"white space", "links", native, "a.link", strings.Replace(oneLink, ":", ": ", 1)},
		{"keys in another order", "links", native, "a.link", strings.Replace(oneLink, `{"_type":"link","byproducts":{}`, `{"byproducts":{},"_type":"link"`, 1)},
		{"an escape that need not be", "links", native, "a.link", strings.Replace(oneLink, "build", `b\u0075ild`, 1)},
		{"a number that is none", "links", native, "a.link", strings.Replace(oneLink, `"byproducts":{}`, `"byproducts":{"return-value":1e3}`, 1)},
		{"endless depth", "links", native, "a.link", strings.Repeat("[", 16<<10) + strings.Repeat("]", 16<<10)},
		{"another type of metadata", "links", native, "a.link", `{"_type":"root"}`},
		{"a DSSE payload for in-toto's key", "links", native, "a.link", paeOf(inToto, oneSeen)},
		{"in-toto's metadata for the DSSE key", "statements", dsse, "a.json", oneLink},
		{"another payload type", "statements", dsse, "a.json", paeOf("application/vnd.other+json", oneSeen)},
		{"a payload type twice", "statements", dsse, "a.json", paeOf(inToto+" 2 {}", oneSeen)},
		{"a length that lies", "statements", dsse, "a.json", paeOf(inToto, oneSeen) + "}"},
		{"a length with a zero", "statements", dsse, "a.json", strings.Replace(paeOf(inToto, oneSeen), "DSSEv1 28", "DSSEv1 028", 1)},
		{"a payload with a key twice", "statements", dsse, "a.json", paeOf(inToto, strings.Replace(oneSeen, `"predicate":{}`, `"predicate":{},"predicateType":"https://evil.example"`, 1))},
		{"a payload and bytes behind it", "statements", dsse, "a.json", paeOf(inToto, oneSeen+" {}")},
		{"a document for a format that shows none", "git", "sshsig-git", "a.commit", "tree 0123\n"},
		{"a document for a raw key", "boot", "raw-boot", "a.img", "an image"},
		{"metadata for the key of files", "anything", "openpgp-binary", "a.bin", oneLink},
	} {
		r := a.asks(c.class, c.format, c.file, c.doc)
		r.Contents[0] = message.Content{Document: []byte(c.doc)}
		a.say(r.Submit().Marshal())
		a.isRefused(c.name, r.Job(), message.CodeBadDocument)
		if f, _ := sigformat.FormatOf(c.format); f.Document() == sigformat.Demanded {
			state := a.Honest(c.doc)
			r.Contents = state.Contents
			a.say(r.Submit().Marshal())
			a.isRefused(c.name+" as a state", r.Job(), message.CodeDocumentMissing)
		}
		r.Contents[0] = message.Content{Document: []byte(oneLink + oneSeen)}
		a.say(r.Submit().Marshal())
		a.isRefused(c.name+", and another document than that", r.Job(), message.CodeStateMismatch)
	}
	big := bytes.Repeat([]byte(" "), message.MaxDocument)
	for name, documents := range map[string][][]byte{"a document too long": {append(big, ' ')}, "documents too long together": {big, big, {' '}}} {
		r := a.Honest(make([]string, len(documents))...)
		for i, b := range documents {
			r.Contents[i] = message.Content{Document: b}
		}
		a.say(r.Submit().Marshal())
		a.isRefused(name, message.JobID{}, message.CodeBadMessage)
	}
	d.untilNow()
	a.printsPlainly()
	a.leaves()
}

// printsPlainly: what is in a document and fit for no display is shown escaped, on a line of its own.
func (a *attacked) printsPlainly() {
	a.t.Helper()
	r := a.asks("links", "in-toto-native", "a.link", strings.Replace(oneLink, "build", "bu\x1b[2J\u202eild\n>>> TOUCH", 1))
	job, mark := r.Job(), a.Views().Mark()
	a.say(r.Submit().Marshal())
	v, _, err := a.Views().Wait(a.ctx, mark, func(v operator.View) bool { return v.Job != nil && v.Job.ID == job.String() })
	a.must(err)
	text := strings.Join(v.Job.Items[0].Meaning, "|")
	if !strings.Contains(text, `"bu\x1b[2J\u202eild\n>>> TOUCH"`) || strings.ContainsFunc(text, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
		a.t.Errorf("it is shown as %q", text)
	}
	a.must(a.Operator("deny " + job.String()))
	a.gets("", job, message.CodeDenied)
}

// TestAttackOnTheDisplay: what could be shown as something else than it is does not reach the display: names that move a
// cursor, look like others or run over, batches beyond what is looked at, sizes that are not the file's.
func TestAttackOnTheDisplay(t *testing.T) {
	t.Parallel()
	a := attack(t)
	d := a.noDamage()
	for what, name := range map[string]string{
		"an escape sequence": "core.db\x1b[2J", "a homoglyph": "c\u043ere.db", "a bidi override": "core\u202ebd.exe", "a zero-width character": "co\u200bre.db", "a line end": "core.db\nitem",
		"a blank": "core.db and more", "an option": "-rf", "a way out of the folder": "../core.db", "an absolute path": "/etc/core.db", "a home": "~root/core.db",
		"a name that runs over": strings.Repeat("x", 201), "a full-width letter": "\uff43ore.db", "nothing": "", "a tab": "core\t.db", "a combining mark": "core\u0301.db", "a null byte": "core\x00.db",
	} {
		r := a.Honest("content")
		text := bytes.Replace(r.Approval.Marshal(), []byte(" file0.db\n"), []byte(" "+name+"\n"), 1)
		r.Submission.Approval, r.FixedApproval = message.JobOf(text), true
		m := r.Submit()
		raw := bytes.Replace(m.Marshal(), m.Approval, append(bytes.Clone(text), '\n'), 1)
		raw = bytes.Replace(raw, fmt.Appendf(nil, "approval %d\n", len(m.Approval)), fmt.Appendf(nil, "approval %d\n", len(text)+1), 1)
		job := message.JobID{}
		if _, err := message.Parse(raw); err == nil { // the name is judged with the approval, and not before
			job = message.JobOf(text)
		}
		a.say(raw)
		a.isRefused(what, job, message.CodeBadMessage)
	}
	r := a.Honest(make([]string, message.MaxItems)...)
	a.say(r.Submit().Marshal())
	a.isRefused("a batch beyond the class's", r.Job(), message.CodeBatchTooLarge)
	text, one := r.Approval.Marshal(), a.Honest("one more")
	one.Approval.Items[0].Name = "file16.db"
	line := one.Approval.Marshal()
	text = append(text, line[bytes.Index(line, []byte("item ")):]...)
	m := r.Submit()
	m.Approval = append(bytes.Clone(text), '\n')
	a.say(m.Marshal())
	a.isRefused("a batch beyond all", message.JobOf(text), message.CodeBadMessage)
	for _, size := range []uint64{0, 8, 1 << 40} {
		r := a.asks("anything", "openpgp-binary", "a.bin", "content")
		r.Approval.Items[0].Size = size
		a.say(r.Submit().Marshal())
		a.isRefused(fmt.Sprint("a size of ", size), r.Job(), message.CodeStateMismatch)
	}
	d.untilNow()
	a.leaves()
}

// TestAttackElsewhere: what one class, or another appliance of the same origin, gave for the very same file passes nowhere
// else: signatures and proofs belong to one job of one log.
func TestAttackElsewhere(t *testing.T) {
	t.Parallel()
	r, other := up(t, world.Config{}), up(t, world.Config{})
	const name, content = "same-1-any.pkg.tar.zst", "the same content"
	file := r.text(name, content)
	made := func(at *rig, class string) (sig, proof []byte) {
		f := at.text(name, content)
		at.sign([]string{"--class", class}, f)
		sig, err := os.ReadFile(f + ".sig")
		at.must(err)
		proof, err = os.ReadFile(f + ".tmproof")
		at.must(err)
		return sig, proof
	}
	sig, proof := made(r, "anything")
	for what, from := range map[string]func() (sig, proof []byte){
		"another class":     func() ([]byte, []byte) { return made(r, "package") },
		"another appliance": func() ([]byte, []byte) { return made(other, "anything") },
	} {
		sig2, proof2 := from()
		put := func(sig, proof []byte, code int) {
			r.must(os.WriteFile(file+".sig", sig, 0o644))
			r.must(os.WriteFile(file+".tmproof", proof, 0o644))
			r.client(code, "verify", file)
		}
		put(sig, proof2, api.Evidence)
		put(sig2, proof, api.Evidence)
		if what == "another appliance" {
			put(sig2, proof2, api.Evidence)
		}
		put(sig, proof, api.OK)
	}
	r.clean()
}

// TestThreatModelNamesTests: each test that the threat model names is there.
func TestThreatModelNamesTests(t *testing.T) {
	root := filepath.Join("..", "..")
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == ".git" || e.Name() == "build") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`).FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllSubmatch(b, -1)
	for _, m := range named {
		if !there[string(m[1])] {
			t.Errorf("the threat model names %s, which there is not", m[1])
		}
	}
	if len(named) < 20 {
		t.Errorf("the threat model names %d tests", len(named))
	}
}
