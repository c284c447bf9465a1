package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"touchmark/tests/swtpm"
	"touchmark/tests/world"
)

// Challenge and answer over files, with the real programs and a TPM as its maker sells it.
func TestChallenge(t *testing.T) {
	t.Parallel()
	makers := t.TempDir()
	r := up(t, world.Config{TPM: swtpm.StartCertified(t, makers)})
	r.works()
	r.shut() // the daemon publishes at the latest when it stops
	roots := r.roots("roots", makers, "swtpm-localca-rootca-cert.pem", "issuercert.pem")
	asked, answered := filepath.Join(r.work, "challenge"), filepath.Join(r.work, "answer")
	audit := func(code int, want string, args ...string) {
		t.Helper()
		r.says("touchmark-audit", code, want, append(args, "--trust", r.Trust)...)
	}
	answer := func(code int, want string, args ...string) {
		t.Helper()
		r.says("touchmark-appliance-emulated", code, want, append([]string{"answer", "--tpm", r.TPM.Spec(), "--dir", r.Board}, args...)...)
	}
	audit(0, "", "challenge", "--log", r.Mirror, "--out", asked)
	answer(4, "--hierarchy-auth", "--challenge", asked, "--out", answered)
	answer(0, "", "--challenge", asked, "--out", answered, "--hierarchy-auth", r.EndorsementAuth(), "--identity", r.Identity())
	answer(2, "identity", "--challenge", asked, "--out", answered, "--hierarchy-auth", r.EndorsementAuth())
	answer(1, "no identity matched", "--challenge", asked, "--out", filepath.Join(r.work, "none"), "--hierarchy-auth", r.EndorsementAuth(), "--identity", r.stranger())
	audit(0, "root      CN=swtpm-localca-rootca", "activate", asked, answered, "--ek-roots", roots)
	audit(1, "whose TPM that is was not checked", "activate", asked, answered)
	audit(2, "unknown authority", "activate", asked, answered, "--ek-roots", r.roots("step", makers, "issuercert.pem"))
	audit(3, "not only certificates", "activate", asked, answered, "--ek-roots", r.Trust)
	audit(3, "holds no certificates", "activate", asked, answered, "--ek-roots", t.TempDir())
	audit(4, "not a day", "activate", asked, answered, "--ek-roots", roots, "--at", "yesterday")
	audit(2, "not yet valid", "activate", asked, answered, "--ek-roots", roots, "--at", "2020-01-01")
	audit(0, "fresh-at", "verify", r.Mirror, "--challenge", asked, "--answer", answered)

	owners := strings.Replace(r.EndorsementAuth(), "endorsement", "owner", 1)
	answer(1, "hierarchy owner", "--challenge", asked, "--out", filepath.Join(r.work, "none"), "--hierarchy-auth", owners, "--identity", r.Identity())

	second := filepath.Join(r.work, "second")
	audit(0, "", "challenge", "--log", r.Mirror, "--out", second)
	audit(2, "another challenge", "activate", second, answered, "--ek-roots", roots)

	before, err := os.ReadFile(answered)
	r.must(err)
	other := up(t, world.Config{TPM: swtpm.StartCertified(t, makers)}) // the same maker's, another chip
	other.StopAppliance()
	// swtpm calls an RSA seed that it cannot decrypt a failure of the TPM; chips call it a wrong value.
	other.says("touchmark-appliance-emulated", 4, "", "answer", "--tpm", other.TPM.Spec(), "--dir", other.Board,
		"--challenge", asked, "--out", answered, "--hierarchy-auth", other.EndorsementAuth(), "--identity", other.Identity())
	answer(1, "this board needs that of hierarchy endorsement, log "+world.Origin,
		"--challenge", asked, "--out", answered, "--hierarchy-auth", other.EndorsementAuth(), "--identity", other.Identity())
	after, err := os.ReadFile(answered)
	r.must(err)
	if !bytes.Equal(before, after) {
		t.Error("a TPM that could not answer wrote an answer")
	}

	transcript, err := os.ReadFile(r.Transcript())
	r.must(err)
	if !strings.Contains(string(transcript), "EK          certificate SHA-256") || !strings.HasPrefix(string(transcript), "Touchmark key ceremony of "+world.Origin) {
		t.Errorf("%s", transcript)
	}
	r.StopHostd()
}

// stranger is an age identity that nothing is encrypted for.
func (r *rig) stranger() string {
	r.t.Helper()
	id, err := age.GenerateX25519Identity()
	r.must(err)
	return r.text("stranger.key", id.String()+"\n")
}

// After TPM2_Clear, a second log goes on from the HEAD of the first, signs, and an auditor finds both in order.
func TestSameHead(t *testing.T) {
	t.Parallel()
	tpm := swtpm.Start(t)
	first := up(t, world.Config{TPM: tpm})
	first.works()
	first.StopAppliance()
	first.StopHostd()
	if _, err := tpm.Tool("tpm2_clear", "-c", "p"); err != nil {
		t.Fatal(err)
	}
	first.must(tpm.PowerCycle())
	second := up(t, world.Config{TPM: tpm, Enrolment: []string{"--same-head", "--predecessor", first.Trust}})
	second.works()
	second.StopAppliance() // its last entries are the mirror's by then
	second.StopHostd()
	res, found := second.audit(second.Mirror, "--predecessor", first.Mirror, "--predecessor-trust", first.Trust)
	if !found.has("head-inherited") || found.has("continuity") || found.Verdict == "tampered" || res.Code > 1 {
		t.Errorf("exit code %d: %+v\n%s", res.Code, found, res.Stderr)
	}
}

// roots makes a directory of some of a maker's certificates.
func (r *rig) roots(name, makers string, files ...string) string {
	r.t.Helper()
	dir := filepath.Join(r.work, name)
	r.must(os.Mkdir(dir, 0o755))
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(makers, f))
		r.must(err)
		r.must(os.WriteFile(filepath.Join(dir, f), b, 0o644))
	}
	return dir
}

// says runs a program and wants an exit code and words in what it prints.
func (r *rig) says(program string, code int, want string, args ...string) {
	r.t.Helper()
	res, err := r.Run(r.ctx, r.work, program, args...)
	r.must(err)
	if res.Code != code || !strings.Contains(res.Stdout+res.Stderr, want) {
		r.t.Errorf("%s %s: exit code %d, want %d with %q:\n%s%s", program, strings.Join(args, " "), res.Code, code, want, res.Stdout, res.Stderr)
	}
}
