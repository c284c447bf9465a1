package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/consumers"
	"touchmark/tests/world"
)

// keyTable is a [[key]] of the policy.
func keyTable(name, slot, algorithm string) string {
	return fmt.Sprintf("[[key]]\nname = %q\nslot = %q\nfamily = \"openpgp-data\"\nalgorithm = %q\n\n", name, slot, algorithm)
}

// withBackup gives the policy a second key, which every class names second.
func withBackup(text string) string {
	text = strings.Replace(text, "[[class]]", keyTable("backup", "82", "p384")+"[[class]]", 1)
	return strings.ReplaceAll(text, `keys = ["packages"]`, `keys = ["packages", "backup"]`)
}

// plug takes one token out of the board and puts the other in.
func (r *rig) plug(in *world.Token) {
	r.t.Helper()
	r.plugOut(r.Token)
	r.plugIn(in)
}

// signsWith has a file signed by a key of this name, and gpgv and sqv judge it.
func (r *rig) signsWith(key, name string) (file string) {
	r.t.Helper()
	file = r.file(name, 1000)
	s := r.ask([]string{"--hash", "sha512"}, file)
	if v := s.view(asks(operator.AskArm)); v.Job.Key != key {
		r.t.Errorf("key %s is shown, not %s", v.Job.Key, key)
	} else {
		r.must(r.Operator("arm " + v.Job.ID))
	}
	s.touch().end(api.OK)
	r.verified(file)
	cert := r.text("cert.asc", r.client(api.OK, "keyring", "show").Stdout)
	keyring := r.text("keyring.gpg", r.client(api.OK, "keyring", "show", "--binary").Stdout)
	if out, err := r.judge("", "gpgv", "--keyring", keyring, file+".sig", file); err != nil {
		r.t.Errorf("gpgv: %v\n%s", err, out)
	}
	r.must(consumers.SQV(r.ctx, io.Discard, cert, file+".sig", file))
	return file
}

// nextPolicy signs the policy that follows the one in the file policy.note, which was the first.
func (r *rig) nextPolicy(edit func(string) string) (note string) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.Host, "policy.toml"))
	r.must(err)
	res := r.client(api.OK, "policy", "check", "--json", filepath.Join(r.Host, "policy.note"))
	hash := regexp.MustCompile(`"hash": ?"([0-9a-f]{64})"`).FindStringSubmatch(res.Stdout)
	if hash == nil {
		r.t.Fatal(res.Stdout)
	}
	next := regexp.MustCompile(`(?m)^previous *=.*$`).ReplaceAllString(edit(string(text)), `previous = "`+hash[1]+`"`)
	path := r.text("next.toml", regexp.MustCompile(`(?m)^serial *=.*$`).ReplaceAllString(next, "serial = 2"))
	r.client(api.OK, "policy", "sign", "--key", r.Key("admin1"), path)
	return filepath.Join(r.work, "next.note")
}

// tokenKey has the spare token make a key of the policy, on the administrators' machine, and answers its record.
func (r *rig) tokenKey(policy, name string) (record string) {
	r.t.Helper()
	record = filepath.Join(r.work, name+".key")
	cmd := r.Command(r.ctx, r.work, "touchmark-appliance-emulated", "token-key", "new", "--policy", policy, "--name", name, "--uid", world.UserID,
		"--out", record, "--token-socket", r.SpareSocket(), "--operator", "lines", "--throwaway")
	in, err := cmd.StdinPipe()
	r.must(err)
	shown, err := cmd.StdoutPipe()
	r.must(err)
	r.must(cmd.Start())
	views := world.Follow(shown)
	_, _, err = views.Wait(r.ctx, 0, func(v operator.View) bool { return v.Ask == operator.AskPIN })
	r.must(err)
	_, err = fmt.Fprintln(in, "pin "+world.PIN)
	r.must(err)
	r.must(r.Spare.Touch(r.ctx))
	v, _, err := views.Wait(r.ctx, 0, func(v operator.View) bool { return v.Event == "token-key" })
	r.must(err)
	if !strings.Contains(v.Message, "Token "+strconv.Itoa(world.SpareSerial)) {
		r.t.Error(v.Message)
	}
	r.must(cmd.Wait())
	return record
}

// TestTokens: one log, two tokens. The backup was there at the enrolment and signs when it is plugged in; later it makes the
// key that is to come, administrators put it into the trust file and order it, and it signs. gpgv and sqv take all three, and
// the auditor, who judges each token's attestation, finds nothing.
func TestTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{Two: true, Policy: withBackup,
		Enrolment: []string{"--serial", strconv.Itoa(world.Serial), "--backup-serial", strconv.Itoa(world.SpareSerial), "--backup-key", "backup"}})
	first, spare := r.Token, r.Spare
	r.must(r.Enrol(r.ctx))
	r.must(spare.Pull(r.ctx))
	r.must(r.StartAppliance(r.ctx))
	r.must(r.StartHostd(r.ctx))
	files := []string{r.signsWith("packages", "one.bin")}
	r.plug(spare)
	files = append(files, r.signsWith("backup", "two.bin"))

	policy := r.nextPolicy(func(text string) string {
		text = strings.Replace(text, "[[class]]", keyTable("next", "83", "rsa2048")+"[[class]]", 1)
		return strings.ReplaceAll(text, `keys = ["packages", "backup"]`, `keys = ["next", "packages", "backup"]`)
	})
	r.orders(policy)
	files = append(files, r.signsWith("backup", "three.bin")) // a key that is not there yet is in nobody's way
	r.StopAppliance()
	record := r.tokenKey(policy, "next")
	r.must(spare.Pull(r.ctx))
	r.must(first.Insert(r.ctx))
	r.Token = first
	r.must(r.StartAppliance(r.ctx))
	trust := filepath.Join(r.work, "trust.next")
	r.says("touchmark-audit", 0, "a further OpenPGP certificate", "trust", "next", "--trust", r.Trust, "--token-key", record, "--key", r.Key("admin1"), "--out", trust)
	text, err := os.ReadFile(trust)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(r.Trust, "trust"), text, 0o644))
	r.StopHostd()
	r.must(r.StartHostd(r.ctx))
	r.orders(r.order("key", "--token-key", record))
	files = append(files, r.signsWith("packages", "four.bin"))
	r.plug(spare)
	files = append(files, r.signsWith("next", "five.bin"))
	r.StopAppliance()
	r.must(r.StartAppliance(r.ctx))
	files = append(files, r.signsWith("next", "six.bin"))
	r.clean()
	r.compared(files...)
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", "show", r.Mirror)
	r.must(err)
	if !strings.Contains(res.Stdout, "in slot 83 of token "+strconv.Itoa(world.SpareSerial)) {
		t.Errorf("the log's reader does not see the key:\n%s%s", res.Stdout, res.Stderr)
	}
}

// plugOut takes the token out of the board.
func (r *rig) plugOut(token *world.Token) {
	r.t.Helper()
	mark := r.Views().Mark()
	r.must(token.Pull(r.ctx))
	_, _, err := r.Views().Wait(r.ctx, mark, func(v operator.View) bool { return v.Token == "missing" })
	r.must(err)
}

// plugIn puts a token into the board that has none; the operator types its PIN.
func (r *rig) plugIn(token *world.Token) {
	r.t.Helper()
	mark := r.Views().Mark()
	r.must(token.Insert(r.ctx))
	r.must(r.Unlock(r.ctx, mark, world.PIN))
	r.Token = token
}
