package task

import (
	"bytes"
	"errors"
	"slices"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/tokenkey"
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
	if err := ak.VerifyCreation(g.Creation, ledger.OutsideInfo(g.Origin, g.Attestations(), g.Nonce)); err != nil {
		t.Evidence(finding.AK, "the attestation key was not created for this log and token: %v", err)
	}
	if !bytes.Equal(g.HeadName, quote.HeadName(g.Head)) {
		t.Evidence(finding.Genesis, "HEAD's Name is not that of an append-only index at %#x", g.Head)
	}
	t.genesisPolicy(g, k)
	t.genesisKeys(g, k)
	for i := range g.Keys {
		t.Token(&g.Keys[i], tokens)
	}
	if g.Emulated() {
		t.Add(finding.Info, finding.Emulated, "the token is an emulated one: its key can be copied; good for tests only")
	}
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
	k.LogKey = g.LogKey
	t.genesisKeys(g, k)
	return k
}

// differs names the first field in which a genesis is not what is pinned. Log
// key and certificates may be others in a later version of the trust.
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
		{"OpenPGP certificate", later || slices.EqualFunc(want.Certs, got.Certs, bytes.Equal)},
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
	k.Policy, k.LogKey = p, g.LogKey
	if p.Origin != g.Origin {
		t.Evidence(finding.Policy, "the policy is for %s, the log is %s", p.Origin, g.Origin)
	}
	for _, have := range g.Keys {
		if err := tokenkey.InPolicy(&have, p); err != nil {
			t.Evidence(finding.Genesis, "%v", err)
		}
	}
	have, want := names(g.Keys, func(k ledger.TokenKey) string { return k.Name }), names(p.Keys, func(k policy.Key) string { return k.Name })
	if !slices.Equal(have, want) {
		t.Evidence(finding.Genesis, "the policy's token keys are %q, in this order, the entry's %q", want, have)
	}
}

func names[K any](keys []K, name func(K) string) (all []string) {
	for _, k := range keys {
		all = append(all, name(k))
	}
	return all
}

// genesisKeys takes the signing keys from the pinned certificates, and the
// certificates that administrators may have renewed since from the entry.
func (t *Task) genesisKeys(g *ledger.Genesis, k *Keys) {
	pinned, err := certificate.ParseKeyring(k.Trust.Certs)
	if err != nil {
		t.Evidence(finding.Genesis, "the pinned OpenPGP certificates: %v", err)
		return
	}
	k.Pinned = pinned
	for i := range g.Keys {
		key := &g.Keys[i]
		own := Key{Name: key.Name, Fingerprint: key.Fingerprint}
		own.Cert, err = tokenkey.Certificate(key)
		if pin := pinned.Find(key.Fingerprint); err == nil && pin == nil {
			err = errors.New("it is none of the pinned certificates'")
		} else if pin != nil {
			own.Public = pin.Key
		}
		if err != nil {
			t.Evidence(finding.Genesis, "the token key %q: %v", key.Name, err)
			own.Cert = nil
		}
		k.Own = append(k.Own, own)
	}
}

// Token checks what the token says of the key it made, and reports whether that
// is what the record says. With tokens nil, Yubico's roots decide whether it is a
// real one.
func (t *Task) Token(k *ledger.TokenKey, tokens *attest.Roots) bool {
	f, err := tokenkey.Attested(k, tokens)
	if err != nil {
		t.Evidence(finding.Token, "the token's attestation of key %q: %v", k.Name, err)
		return false
	}
	if f.EUCLEAK() {
		t.Add(finding.Warning, finding.EUCLEAK, "key %q is on an elliptic curve and the token's firmware is %s: whoever holds the token for a while can extract such keys below 5.7 (EUCLEAK, YSA-2024-03); use RSA or a newer token", k.Name, f.Firmware)
	}
	return true
}
