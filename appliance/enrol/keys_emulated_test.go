//go:build emulated && !pcscd

package enrol

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/enrol/stopped"
	"touchmark/appliance/operator"
	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
	"touchmark/appliance/policy/policytest"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
	"touchmark/tests/swtpm"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// twoKeyPolicy names a second key.
func twoKeyPolicy(t *testing.T) []byte {
	t.Helper()
	secret, admin, err := note.GenerateKey(rand.Reader, "admin")
	ok(t, err)
	_, host, err := note.GenerateKey(rand.Reader, "repo1")
	ok(t, err)
	signer, err := note.NewSigner(secret)
	ok(t, err)
	text := policytest.Policy{Origin: origin, Admin: admin, Host: host, Classes: []policytest.Class{
		{Name: "anything", Names: "*", MaxSize: "1TiB", Rate: "600/1h", Batch: 16},
	}}.Text() + "[[key]]\nname = \"media\"\nslot = \"82\"\nfamily = \"openpgp-data\"\nalgorithm = \"p384\"\n"
	msg, err := message.SignNote([]byte(strings.Replace(text, `keys = ["packages"]`, `keys = ["media", "packages"]`, 1)), signer)
	ok(t, err)
	return msg
}

// The ceremony makes each key of the policy, also if it was ended between two of
// them; the TPM vouches for all of them, and all certificates are pinned.
func TestCeremonyWithTwoKeys(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	r.cfg.PolicyNote = twoKeyPolicy(t)
	c := &ceremony{Config: r.cfg}
	c.hook = func() error {
		if len(c.keys) == 2 && c.keys[1].state != nil && recorded(c.keys[0].state.Attestation.Slot) && c.keys[1].state.Asked {
			return errKilled
		}
		return nil
	}
	if _, err := c.run(t.Context()); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	trust, err := Run(t.Context(), r.cfg)
	ok(t, err)
	pins, err := certificate.ParseKeyring(trust.Certs)
	ok(t, err)
	store, err := ledgerstore.Open(stopped.LogDir(r.cfg.Dir))
	ok(t, err)
	defer func() { ok(t, store.Close()) }()
	raw, err := store.Entry(0)
	ok(t, err)
	_, body, err := ledger.Parse(raw)
	ok(t, err)
	g := body.(*ledger.Genesis)
	if len(g.Keys) != 2 || len(pins) != 2 || g.Keys[0].Name != "packages" || g.Keys[1].Name != "media" {
		t.Fatalf("%d keys, %d pinned", len(g.Keys), len(pins))
	}
	p := past.New(past.Config{Store: store, Log: zerolog.Nop()})
	ok(t, p.Load(r.cfg.Now))
	for _, k := range g.Keys {
		pub, err := r.cfg.Token.Public(k.Slot)
		ok(t, err)
		pin := pins.Find(k.Fingerprint)
		same, isKey := pub.(interface{ Equal(crypto.PublicKey) bool })
		if pin == nil || p.Named(k.Name) == nil || !isKey || !same.Equal(pin.Key.Public) || k.Token.Serial != 12345678 {
			t.Errorf("key %s is not what the token has or the trust pins", k.Name)
		}
	}
	ok(t, p.AK.VerifyCreation(g.Creation, ledger.OutsideInfo(g.Origin, g.Attestations(), g.Nonce)))
	if err := p.AK.VerifyCreation(g.Creation, ledger.OutsideInfo(g.Origin, g.Attestations()[:1], g.Nonce)); err == nil {
		t.Error("the TPM vouches for one key only")
	}
	armoured, err := os.ReadFile(r.cfg.TrustDir + "/cert.asc")
	ok(t, err)
	if !bytes.Equal(armoured, certificate.ArmorAll(trust.Certs)) {
		t.Error("cert.asc has other certificates")
	}
}

// typist answers the questions for secrets in turn; it says yes to all others.
type typist struct {
	*rig
	words []string
}

func (p *typist) Show(v operator.View) {
	if v.Ask != operator.AskPIN {
		p.rig.Show(v)
		return
	}
	p.seen = append(p.seen, v)
	word := p.words[0]
	p.words = p.words[1:]
	p.in <- operator.Command{Verb: operator.PIN, PIN: []byte(word)}
}

// The operator sets PIN and PUK: what is mistyped is asked for again, the
// factory's are no choice, and nothing of it is written down.
func TestSecretsAreSet(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	p := &typist{rig: r, words: []string{
		"123456", "24681357", "24681358", // they differ
		"123456", "123456", "123456", // the factory's
		"123456", "123", "123", // too short
		"654321", "24681357", "24681357", // wrong
		"123456", "24681357", "24681357",
		"12345678", "87654321", "87654321", // PUK
	}}
	r.cfg.SetPIN, r.cfg.Panel = true, p
	trust, err := Run(context.Background(), r.cfg)
	ok(t, err)
	if len(p.words) > 0 {
		t.Errorf("not asked for: %q", p.words)
	}
	r.check(trust)
	var wrong *piv.PINError
	if err := r.cfg.Token.VerifyPIN([]byte("123456")); !errors.As(err, &wrong) {
		t.Errorf("the factory's PIN: %v", err)
	}
	ok(t, r.cfg.Token.VerifyPIN([]byte("24681357")))
	if err := r.cfg.Token.SetPUK([]byte("12345678"), []byte("11111111")); !errors.As(err, &wrong) || !wrong.PUK {
		t.Errorf("the factory's PUK: %v", err)
	}
	ok(t, r.cfg.Token.SetPUK([]byte("87654321"), []byte("11111111")))
	told, err := os.ReadFile(r.cfg.Transcript)
	ok(t, err)
	if bytes.Contains(told, []byte("24681357")) || bytes.Contains(told, []byte("87654321")) || !bytes.Contains(told, []byte("set by the operator")) {
		t.Errorf("the transcript says\n%s", told)
	}
}

// The last try of the PIN is never used, and one that could be the PUK's last
// ends the ceremony.
func TestSecretsKeepTheirLastTry(t *testing.T) {
	for name, c := range map[string]struct {
		words []string
		want  func(error) bool
	}{
		"PIN": {[]string{"000000", "24681357", "24681357", "000000", "24681357", "24681357", "000000", "24681357", "24681357"},
			func(err error) bool {
				var e *piv.PINError
				return errors.As(err, &e) && e.Retries == 1 || errors.Is(err, piv.ErrLastTry)
			}},
		"PUK": {[]string{"123456", "24681357", "24681357", "00000000", "87654321", "87654321", "00000000", "87654321", "87654321"},
			func(err error) bool { var e *piv.PINError; return errors.As(err, &e) && e.PUK && e.Retries == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, swtpm.Start(t))
			r.cfg.SetPIN, r.cfg.Panel = true, &typist{rig: r, words: c.words}
			if _, err := Run(context.Background(), r.cfg); !c.want(err) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// second plugs another token in beside the rig's.
func (r *rig) second(serial uint32) *piv.Token {
	r.t.Helper()
	dir, err := os.MkdirTemp("", "second")
	ok(r.t, err)
	r.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	card, err := pivemu.New(pivemu.Config{Serial: serial, Touch: pivemu.TouchAuto})
	ok(r.t, err)
	port := front.NewPort(card)
	r.t.Cleanup(port.Close)
	ok(r.t, port.ServeUnix(dir+"/s"))
	r.t.Cleanup(pcsc.Register(pcsc.DialBackend(dir + "/s")))
	token, err := piv.Open(piv.Options{Serial: serial}) // as the command does it
	ok(r.t, err)
	r.t.Cleanup(func() { _ = token.Close() })
	return token
}

// A second token, plugged in beside the first, makes the keys that the operator
// says; each key's record names the token that made it.
func TestCeremonyWithABackupToken(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	r.cfg.PolicyNote = twoKeyPolicy(t)
	r.cfg.BackupToken, r.cfg.BackupKeys = r.second(22222222), []string{"media"}
	trust, err := Run(t.Context(), r.cfg)
	ok(t, err)
	if len(trust.Certs) != 2 {
		t.Fatalf("%d certificates are pinned", len(trust.Certs))
	}
	store, err := ledgerstore.Open(stopped.LogDir(r.cfg.Dir))
	ok(t, err)
	defer func() { ok(t, store.Close()) }()
	g, _, err := readGenesis(store)
	ok(t, err)
	if g.Keys[0].Token.Serial != 12345678 || g.Keys[1].Token.Serial != 22222222 {
		t.Errorf("made by %d and %d", g.Keys[0].Token.Serial, g.Keys[1].Token.Serial)
	}
	if _, err := r.cfg.Token.Public("82"); !errors.Is(err, piv.ErrEmptySlot) {
		t.Errorf("the first token has the backup's key: %v", err)
	}
	if _, err := r.cfg.BackupToken.Public("9c"); !errors.Is(err, piv.ErrEmptySlot) {
		t.Errorf("the backup has the first token's key: %v", err)
	}
}

// What cannot be is refused before anything is made.
func TestBackupTokenRefused(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	r.cfg.PolicyNote = twoKeyPolicy(t)
	other := r.second(22222222)
	for name, c := range map[string]struct {
		token *piv.Token
		keys  []string
		says  string
	}{
		"no such key":   {other, []string{"kernel"}, `no key "kernel"`},
		"no keys":       {other, nil, "go together"},
		"no token":      {nil, []string{"media"}, "go together"},
		"the same":      {r.cfg.Token, []string{"media"}, "is the token itself"},
		"nothing stays": {other, []string{"media", "packages"}, "no key is left"},
	} {
		r.cfg.BackupToken, r.cfg.BackupKeys = c.token, c.keys
		if _, err := Run(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(r.cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was begun: %v", err)
	}
}
