package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// documents gives the policy keys and classes for in-toto's layouts and links, for attestations, and a class for what apt
// reads.
func documents(text string) string {
	var keys, classes strings.Builder
	for _, k := range [][4]string{{"layouts", "83", "in-toto", "rsa2048"}, {"links", "84", "in-toto", "p256"}, {"statements", "85", "dsse", "p256"}} {
		fmt.Fprintf(&keys, "[[key]]\nname = %q\nslot = %q\nfamily = %q\nalgorithm = %q\n\n", k[0], k[1], k[2], k[3])
	}
	for _, c := range [][4]string{{"layouts", "layouts", "*.layout", "in-toto-gpg"}, {"links", "links", "*.link", "in-toto-native"},
		{"statements", "statements", "*.json", "dsse-in-toto"}, {"apt", "packages", "Release", "openpgp-cleartext"}} {
		fmt.Fprintf(&classes, "\n[[class]]\nname = %q\nkeys = [%q]\nhosts = [\"repo1\"]\nnames = [%q]\nformats = [%q]\nmax_size = \"1MiB\"\nrates = [\"60/1h\"]\napprovals = 0\nbatch = 4\n",
			c[0], c[1], c[2], c[3])
	}
	return strings.Replace(text, "[[class]]", keys.String()+"[[class]]", 1) + classes.String()
}

// inToto runs in-toto's own library; its models make what is to be signed.
func (r *rig) inToto(script string, args ...string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.ctx, "/usr/bin/python3", append([]string{"-I", "-c", script}, args...)...)
	cmd.Dir = r.work
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("in-toto's library: %v (run \"make setup\")\n%s", err, out)
	}
}

// layoutOf makes a layout of one step that the functionary with this key does; linkOf the unsigned link of that step.
const (
	layoutOf = `
import sys
from in_toto.models.layout import Layout, Step
from in_toto.models.metadata import Metablock
from securesystemslib.interface import import_ecdsa_publickey_from_file
key = import_ecdsa_publickey_from_file(sys.argv[1])
layout = Layout()
layout.set_relative_expiration(months=24)
layout.add_functionary_key(key)
step = Step(name="build")
step.pubkeys = [key["keyid"]]
step.set_expected_command_from_string("touch demo.tar")
step.add_product_rule_from_string("CREATE demo.tar")
step.add_product_rule_from_string("DISALLOW *")
layout.steps = [step]
Metablock(signed=layout).dump(sys.argv[2])
open(sys.argv[3], "w").write("build.%.8s.link" % key["keyid"])
`
	linkOf = `
import sys
from in_toto.runlib import in_toto_run
in_toto_run("build", [], ["demo.tar"], ["touch", "demo.tar"]).dump(sys.argv[1])
`
)

// inPlace signs a file and puts what came of it in its place.
func (r *rig) inPlace(class, format, file string) operator.View {
	r.t.Helper()
	s := r.ask([]string{"--class", class, "--format", format}, file)
	v := s.view(asks(operator.AskArm))
	r.must(r.Operator("arm " + v.Job.ID))
	s.touch().end(api.OK)
	r.verified(file)
	r.must(os.Rename(file+".sig", file))
	if out := r.client(api.OK, "verify", "--sig", file, file).Stdout; strings.Contains(out, " by  ") {
		r.t.Errorf("signed by nobody: %s", out)
	}
	return v
}

// means wants lines with these words on the display.
func (r *rig) means(v operator.View, words ...string) {
	r.t.Helper()
	all := strings.Join(v.Job.Items[0].Meaning, "\n")
	for _, w := range words {
		if !strings.Contains(all, w) {
			r.t.Errorf("the display does not say %q:\n%s", w, all)
		}
	}
}

// verifies runs in-toto-verify on a layout that these keys of a gpg home must have signed.
func (r *rig) verifies(layout, home string, keys ...string) (string, error) {
	args := append([]string{"in-toto-verify", "--layout", layout, "--link-dir", r.work, "--gpg-home", home, "--gpg"}, keys...)
	cmd := exec.CommandContext(r.ctx, args[0], args[1:]...)
	cmd.Dir = r.work
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestInToto: a layout and a link that in-toto's library made, signed by the board after its operator read what they mean.
// in-toto-verify follows the whole chain, and refuses it when one character of either is another.
func TestInToto(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Profile: "5.7.1", Policy: documents})
	layout := filepath.Join(r.work, "root.layout")
	keys := strings.Split(strings.TrimSpace(r.client(api.OK, "keyring", "show", "--in-toto").Stdout), "\n")
	if len(keys) != 2 {
		t.Fatalf("%d keys of in-toto's own form: %q", len(keys), keys)
	}
	r.inToto(layoutOf, r.text("links.pub", keys[0]), layout, filepath.Join(r.work, "name"))
	name, err := os.ReadFile(filepath.Join(r.work, "name"))
	r.must(err)
	link := filepath.Join(r.work, string(name))
	r.inToto(linkOf, link)

	r.means(r.inPlace("layouts", "in-toto-gpg", layout), "in-toto layout", "expires 20", "build", "1 of 1")
	r.means(r.inPlace("links", "in-toto-native", link), "in-toto link", "build", "demo.tar")
	owner, home := strings.ToLower(r.rsaKey()), r.gpg().Home
	if out, err := r.verifies(layout, home, owner); err != nil {
		t.Fatalf("in-toto-verify: %v\n%s", err, out)
	}
	for what, change := range map[string][3]string{"layout": {layout, `"touch"`, `"torch"`}, "link": {link, `"demo.tar"`, `"demo.tor"`}} {
		good, err := os.ReadFile(change[0])
		r.must(err)
		r.must(os.WriteFile(change[0], []byte(strings.Replace(string(good), change[1], change[2], 1)), 0o644))
		if out, err := r.verifies(layout, home, owner); err == nil {
			t.Errorf("in-toto-verify takes a changed %s:\n%s", what, out)
		}
		r.must(os.WriteFile(change[0], good, 0o644))
	}
	other := r.signedByOthersToo(layout, home, owner)
	r.rebuiltByTwo(home, owner, other, keys[0], strings.Split(string(name), ".")[1])
	r.wantsADocument(layout)
	r.clean()
}

// signedByOthersToo: a signature by somebody else's gpg key, whose name is returned, stays in the layout when the board
// signs it once more.
func (r *rig) signedByOthersToo(layout, home, owner string) string {
	r.t.Helper()
	r.t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() }) // its agent, if one began
	for _, argv := range [][]string{
		{"gpg", "--homedir", home, "--batch", "--passphrase", "", "--quick-generate-key", "other@touchmark.example", "rsa2048", "sign", "never"},
		{"in-toto-sign", "-f", layout, "--append", "--gpg", "--gpg-home", home},
	} {
		if out, err := r.judge("", argv...); err != nil {
			r.t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	r.inPlace("layouts", "in-toto-gpg", layout)
	keys, err := r.judge("", "gpg", "--homedir", home, "--with-colons", "--list-secret-keys")
	r.must(err)
	_, rest, _ := strings.Cut(keys, "\nfpr:::::::::")
	other, _, _ := strings.Cut(rest, ":")
	if out, err := r.verifies(layout, home, owner, strings.ToLower(other)); err != nil {
		r.t.Errorf("in-toto-verify, two owners: %v\n%s", err, out)
	}
	return other
}

// wantsADocument: what is no layout or link is not signed as one.
func (r *rig) wantsADocument(layout string) {
	r.t.Helper()
	b, err := os.ReadFile(layout)
	r.must(err)
	for name, content := range map[string]string{
		"text.layout":      "no JSON\n",
		"other.layout":     `{"_type":"something"}`,
		"twice.layout":     strings.Replace(string(b), `"_type": "layout",`, `"_type": "layout", "_type": "layout",`, 1),
		"trailing.layout":  string(b) + "{}",
		"signature.layout": `{"signatures":[{"keyid":"00"}],"signed":[]}`,
	} {
		f := r.text(name, content)
		r.ask([]string{"--class", "layouts", "--format", "in-toto-gpg"}, f).end(api.BadInput)
		r.unsigned(f)
	}
}

const (
	release = "Origin: Example\nSuite: stable\nCodename: test\nDate: Sat, 21 Nov 2026 12:00:00 UTC\nValid-Until: Sat, 28 Nov 2026 12:00:00 UTC\n" +
		"SHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n"
	statement = `{"_type":"https://in-toto.io/Statement/v1","predicate":{"buildType":"x"},"predicateType":"https://slsa.dev/provenance/v1",` +
		`"subject":[{"digest":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"name":"demo.tar"}]}`
)

// TestReleaseAndStatement: a Release file and an attestation are shown by meaning; the class of the former takes none that
// cannot be shown, which another class signs by its digest; gpg and openssl judge what is made of
// them, and the auditor finds both where they are published.
func TestReleaseAndStatement(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Profile: "5.7.1", Policy: func(text string) string { return documents(text) + "documents = \"demanded\"\n" }})
	hidden := filepath.Join(t.TempDir(), "Release")
	r.must(os.WriteFile(hidden, []byte(release+"\nSuite: another\n"), 0o644))
	r.oneLine(r.client(api.Refused, "sign", "--class", "apt", "--format", "openpgp-cleartext", hidden), "must come as a document")
	file := r.text("Release", release)
	s := r.ask([]string{"--class", "apt", "--format", "openpgp-cleartext"}, file)
	v := s.view(asks(operator.AskArm))
	r.means(v, "Example", "stable", "2026-11-28", "1 file", "SHA256")
	r.must(r.Operator("arm " + v.Job.ID))
	s.touch().end(api.OK)
	r.verified(file)
	r.must(r.gpg().VerifyText(r.ctx, file+".asc"))

	att := r.text("demo.json", statement)
	r.means(r.inPlace("statements", "dsse-in-toto", att), "https://slsa.dev/provenance/v1", "demo.tar")
	b, err := os.ReadFile(att)
	r.must(err)
	var env struct {
		Payload, PayloadType string
		Signatures           []struct{ KeyID, Sig string }
	}
	r.must(json.Unmarshal(b, &env))
	payload, err := base64.StdEncoding.DecodeString(env.Payload)
	if err != nil || string(payload) != statement || env.PayloadType != "application/vnd.in-toto+json" || len(env.Signatures) != 1 {
		t.Fatalf("%v, envelope %s", err, b)
	}
	sig, err := base64.StdEncoding.DecodeString(env.Signatures[0].Sig)
	r.must(err)
	pae := fmt.Sprintf("DSSEv1 %d %s %d %s", len(env.PayloadType), env.PayloadType, len(payload), payload)
	pem := r.text("statements.pem", r.lastPEM())
	if out, err := r.judge("", "openssl", "dgst", "-sha256", "-verify", pem, "-signature", r.text("demo.der", string(sig)), r.text("demo.pae", pae)); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}

	r.clean()
	repo := filepath.Join(t.TempDir(), "repo")
	r.must(os.Mkdir(repo, 0o755))
	r.must(os.Rename(file+".asc", filepath.Join(repo, "InRelease")))
	r.must(os.Rename(att, filepath.Join(repo, "demo.json")))
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", "published", repo, "--log", r.Mirror, "--trust", r.Trust, "--all")
	r.must(err)
	if n := strings.Count("\n"+res.Stdout, "\npublished "); res.Code != 0 || n != 2 {
		t.Errorf("exit code %d, %d signatures are found:\n%s%s", res.Code, n, res.Stdout, res.Stderr)
	}
}

// TestLayoutApproved: two of three people hold a layout against their own copies of it, in whatever spacing and with
// whatever signatures those are; the operator sees who did, and until when it holds.
func TestLayoutApproved(t *testing.T) {
	t.Parallel()
	who, tables := newPeople(t, "alice", "bob", "carol")
	r := up(t, world.Config{Profile: "5.7.1", Policy: func(text string) string {
		before, after, _ := strings.Cut(documents(text), `name = "layouts"`+"\nkeys")
		return before + `name = "layouts"` + "\nkeys" + strings.Replace(after, "approvals = 0", "approvals = 2", 1) + tables
	}})
	layout := filepath.Join(r.work, "root.layout")
	rebuilder, err := filepath.Abs("../../hostlink/intoto/testdata/alice.asc")
	r.must(err)
	r.client(api.OK, "intoto", "layout", "new", "--rebuilder", rebuilder, "--out", layout)
	made, err := os.ReadFile(layout)
	r.must(err)
	asked := string(made)
	_, signed, _ := strings.Cut(asked, `"signed": `)
	expires := regexp.MustCompile(`"expires": "([^"]*)"`).FindStringSubmatch(asked)[1]
	request := filepath.Join(r.work, "layout.request")
	r.client(api.OK, "approvals", "request", "--class", "layouts", "--format", "in-toto-gpg", "--timeout", "1h", "--out", request, layout)
	copies := map[string]string{
		"alice": strings.ReplaceAll(asked, ",", ",\n  "), "carol": strings.TrimSuffix(strings.TrimSpace(signed), "}"),
		"bob": strings.Replace(asked, expires[:4], "2048", 1),
	}
	s := r.asking([]string{"intoto", "layout", "sign", "--class", "layouts"}, layout)
	for _, name := range []string{"bob", "alice", "carol"} {
		own := filepath.Join(t.TempDir(), "root.layout")
		r.must(os.WriteFile(own, []byte(copies[name]), 0o644))
		out := filepath.Join(r.work, name+".approval")
		want := map[bool]int{true: api.Evidence}[name == "bob"] // else 0
		r.client(want, "approve", "--key", who[name], "--class", "layouts", "--out", out, request, own)
		if want == api.OK {
			r.client(api.OK, "approvals", "add", out)
		}
	}
	v := s.view(asks(operator.AskArm))
	if !slices.Equal(v.Job.Approvers, []string{"alice", "carol"}) {
		t.Errorf("the display names %q", v.Job.Approvers)
	}
	r.means(v, "in-toto layout, expires "+expires, "1 step", "needs 1 of 1 key")
	r.must(r.Operator("arm " + v.Job.ID))
	s.touch().end(api.OK)
	r.client(api.OK, "verify", "--sig", layout, layout)
	r.must(os.Rename(layout, layout+".sig")) // so that each of both can be changed
	r.must(os.WriteFile(layout, made, 0o644))
	r.verified(layout)
	r.changedIsFound(layout, expires[:7], "2048-11")
	r.clean()
}

// changedIsFound: whatever is changed of a file, of the one with its signature, or of both alike, verify finds.
func (r *rig) changedIsFound(file, old, new string) {
	r.t.Helper()
	for _, which := range [][]string{{""}, {".sig"}, {"", ".sig"}} {
		before := map[string][]byte{}
		for _, suffix := range which {
			b, err := os.ReadFile(file + suffix)
			r.must(err)
			before[file+suffix] = b
			r.must(os.WriteFile(file+suffix, []byte(strings.Replace(string(b), old, new, 1)), 0o644))
		}
		r.client(api.Evidence, "verify", file)
		for path, b := range before {
			r.must(os.WriteFile(path, b, 0o644))
		}
	}
	b, err := os.ReadFile(file + ".sig")
	r.must(err)
	r.must(os.WriteFile(file+".sig", []byte(strings.Replace(string(b), `"keyid": "`, `"keyid": "0`, 1)), 0o644))
	r.oneLine(r.client(api.Evidence, "verify", file), "no signature by key")
	r.must(os.WriteFile(file+".sig", b, 0o644))
	r.verified(file)
}

// lastPEM is the last of the public keys that are not for OpenPGP: those of statements.
func (r *rig) lastPEM() string {
	const begin = "-----BEGIN PUBLIC KEY-----\n"
	all := r.client(api.OK, "keyring", "show", "--pem").Stdout
	return all[strings.LastIndex(all, begin):]
}

// rsaKey is the fingerprint of the policy's one RSA key, that for layouts.
func (r *rig) rsaKey() string {
	r.t.Helper()
	for line := range strings.Lines(r.client(api.OK, "--json", "keyring", "show").Stdout) {
		var k struct{ Fingerprint, Algorithm string }
		r.must(json.Unmarshal([]byte(line), &k))
		if strings.HasPrefix(k.Algorithm, "rsa") {
			return k.Fingerprint
		}
	}
	r.t.Fatal("no RSA key")
	return ""
}
