package task

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// Genesis checks entry 0 against the pinned trust and against itself, and
// yields the keys that everything after it is verified with. The pinned ones
// win where they differ.
func (t *Task) Genesis(trust *anchor.Trust, ak *quote.AK, tokens *attest.Roots) *Keys {
	k := &Keys{Trust: trust, AK: ak}
	g, ok := t.Body.(*ledger.Genesis)
	if !ok {
		if t.Body != nil {
			t.Evidence(finding.Misplaced, "entry 0 is a %s entry, not the genesis", ledger.KindOf(t.Body))
		}
		return k
	}
	if what := differs(trust, anchor.TrustOf(t.Raw, g)); what != "" {
		t.Evidence(finding.Trust, "entry 0 is not the genesis of the log you trust: its %s differs", what)
	}
	if err := ak.VerifyCreation(g.Creation, ledger.OutsideInfo(g.Origin, g.Attestation, g.Nonce)); err != nil {
		t.Evidence(finding.AK, "the attestation key was not created for this log and token: %v", err)
	}
	if !bytes.Equal(g.HeadName, quote.HeadName(g.Head)) {
		t.Evidence(finding.Genesis, "HEAD's Name is not that of an append-only index at %#x", g.Head)
	}
	t.genesisPolicy(g, k)
	t.genesisKey(g, k)
	t.token(g, tokens)
	return k
}

// RecallGenesis yields the same keys of an entry 0 that was audited before, but
// for the policy.
func (t *Task) RecallGenesis(trust *anchor.Trust, ak *quote.AK) *Keys {
	k := &Keys{Trust: trust, AK: ak}
	g, ok := t.Body.(*ledger.Genesis)
	if !ok {
		return k
	}
	k.Name, k.LogKey = g.Key.Name, g.LogKey
	t.genesisKey(g, k)
	return k
}

// differs names the first field in which a genesis is not what is pinned. Log
// key and certificate may be others in a later version of the trust.
func differs(want, got *anchor.Trust) string {
	later := want.Version > 1
	for _, f := range []struct {
		name string
		same bool
	}{
		{"origin", want.Origin == got.Origin},
		{"log key", later || want.LogKey == got.LogKey},
		{"attestation key", bytes.Equal(want.AK, got.AK)},
		{"HEAD", want.Head == got.Head && bytes.Equal(want.HeadName, got.HeadName)},
		{"PCR", want.PCR == got.PCR},
		{"OpenPGP certificate", later || bytes.Equal(want.Cert, got.Cert)},
		{"kind of token", want.Emulated == got.Emulated},
		{"hash", want.Genesis == got.Genesis},
	} {
		if !f.same {
			return f.name
		}
	}
	return ""
}

func (t *Task) genesisPolicy(g *ledger.Genesis, k *Keys) {
	p, err := policy.Open(g.Policy)
	if err != nil {
		t.Evidence(finding.Policy, "the policy in the genesis entry: %v", err)
		return
	}
	k.Policy, k.Name, k.LogKey = p, g.Key.Name, g.LogKey
	if p.Origin != g.Origin {
		t.Evidence(finding.Policy, "the policy is for %s, the log is %s", p.Origin, g.Origin)
	}
	want := policy.Key{Name: g.Key.Name, Slot: g.Key.Slot, Family: g.Key.Family, Algorithm: g.Key.Algorithm}
	if have, ok := p.Key(g.Key.Name); !ok || *have != want {
		t.Evidence(finding.Genesis, "the token key %q is not as the policy says", g.Key.Name)
	}
}

// genesisKey takes the signing key from the pinned certificate, and the
// certificate that administrators may have renewed since from the entry.
func (t *Task) genesisKey(g *ledger.Genesis, k *Keys) {
	pinned, err := sigformat.ParseCertificate(k.Trust.Cert)
	if err != nil {
		t.Evidence(finding.Genesis, "the OpenPGP certificate: %v", err)
		return
	}
	k.Key = pinned.Key
	pub, err := x509.ParsePKIXPublicKey(g.Key.SPKI)
	if err != nil || !sameKey(pub, k.Key.Public) || g.Key.Fingerprint != k.Key.Fingerprint() || g.Key.Algorithm != k.Key.Algorithm() {
		t.Evidence(finding.Genesis, "the token key and the OpenPGP certificate are not the same key")
	}
	first, err := pinned, nil
	if !bytes.Equal(g.Cert, k.Trust.Cert) {
		first, err = sigformat.ParseCertificate(g.Cert)
	}
	if err != nil || first.Key.Fingerprint() != k.Key.Fingerprint() {
		t.Evidence(finding.Genesis, "the OpenPGP certificate in the entry is not one of the pinned key")
		return
	}
	k.Cert = first
}

func sameKey(a, b crypto.PublicKey) bool {
	eq, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && eq.Equal(b)
}

// token checks what the token says of the key it made. With tokens nil,
// Yubico's roots decide whether it is a real one.
func (t *Task) token(g *ledger.Genesis, tokens *attest.Roots) {
	f, err := attest.Verify(g.Attestation.Slot, g.Attestation.Intermediate, tokens)
	if err == nil {
		err = tokenSays(f, g)
	}
	if err != nil {
		t.Evidence(finding.Token, "the token's attestation: %v", err)
		return
	}
	if g.Token.Emulated {
		t.Add(finding.Info, finding.Emulated, "the token is an emulated one: its key can be copied; good for tests only")
	}
	if g.Key.Algorithm != "ed25519" && !strings.HasPrefix(g.Key.Algorithm, "rsa") && older(f.Firmware, 5, 7) {
		t.Add(finding.Warning, finding.EUCLEAK, "the key is on an elliptic curve and the token's firmware is %s: whoever holds the token for a while can extract such keys below 5.7 (EUCLEAK, YSA-2024-03); use RSA or a newer token", f.Firmware)
	}
}

func tokenSays(f attest.Facts, g *ledger.Genesis) error {
	pub, err := x509.ParsePKIXPublicKey(g.Key.SPKI)
	switch {
	case err != nil:
		return err
	case !sameKey(f.Public, pub):
		return errors.New("it is for another key")
	case f.Slot != g.Key.Slot:
		return fmt.Errorf("the key is in slot %s, not %s", f.Slot, g.Key.Slot)
	case f.Serial != g.Token.Serial || f.Firmware != g.Token.Firmware:
		return fmt.Errorf("the token is number %d with firmware %s", f.Serial, f.Firmware)
	case !f.TouchAlways():
		return errors.New("the key does not need a touch each time")
	case !f.PINOnce():
		return errors.New("the key's PIN policy is not \"once\"")
	case f.Emulated && !g.Token.Emulated:
		return errors.New("its chain does not end at Yubico, though the genesis entry says so")
	}
	return nil
}

// older reports whether a version "a.b.c" is below major.minor; one that
// cannot be read counts as older.
func older(version string, major, minor int) bool {
	a, rest, _ := strings.Cut(version, ".")
	b, _, _ := strings.Cut(rest, ".")
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err1 != nil || err2 != nil || x < major || x == major && y < minor
}
