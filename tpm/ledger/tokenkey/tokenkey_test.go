package tokenkey_test

import (
	"bytes"
	"crypto/ecdsa"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/policy"
	"touchmark/appliance/policy/policytest"
	"touchmark/tests/pivemu/pivkey"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/tokenkey"
	"touchmark/tpm/ledger/tokenkey/tokenkeytest"
)

const (
	admin = "admin1+c0d6665e+AbS9dpJKhF7Z+dWc1SC+jXhK41U7KEHArigb+fC1ZJuR"
	host  = "repo1+9db246f4+Aeh7ZpaMfVEs/0hClNb8Ks77ArALgUFIjBjqPvpTDdIl"
)

// inForce is a policy with tables for the keys spare and ssh.
func inForce(t testing.TB) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(policytest.Policy{Origin: "touchmark.example/test", Admin: admin, Host: host, Classes: []policytest.Class{
		{Name: "db", Names: "*.db", MaxSize: "1MiB", Rate: "20/1h", Batch: 4},
	}}.Text() + "[[key]]\nname = \"spare\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n" +
		"[[key]]\nname = \"ssh\"\nslot = \"82\"\nfamily = \"sshsig\"\nalgorithm = \"p256\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What may join a log, and what may not: each with what an administrator is told.
func TestJoin(t *testing.T) {
	p := inForce(t)
	spare := tokenkeytest.New(tokenkeytest.Spec{})
	first := tokenkeytest.New(tokenkeytest.Spec{Name: "packages", Slot: "9c"})
	has := []tokenkey.Known{{Name: "packages", Public: first.Private.Public()}}
	changed := func(harm func(k *ledger.TokenKey)) *ledger.TokenKey {
		k := spare.Record
		harm(&k)
		return &k
	}
	ssh := tokenkeytest.New(tokenkeytest.Spec{Name: "ssh", Slot: "82", Family: "sshsig"})
	full := make([]tokenkey.Known, tokenkey.MaxKeys)
	for name, c := range map[string]struct {
		k        *ledger.TokenKey
		log      []tokenkey.Known
		real     bool // the log has real tokens only
		contains string
	}{
		"a spare":                      {k: &spare.Record, log: has},
		"another family":               {k: &ssh.Record, log: has},
		"a name that is taken":         {k: &spare.Record, log: append(has, tokenkey.Known{Name: "spare"}), contains: "has a key \"spare\" already"},
		"the same key, another name":   {k: &spare.Record, log: []tokenkey.Known{{Name: "packages", Public: spare.Private.Public()}}, contains: "is this log's key \"packages\""},
		"a name the policy has not":    {k: changed(func(k *ledger.TokenKey) { k.Name = "other" }), log: has, contains: "not as the policy says"},
		"another slot":                 {k: changed(func(k *ledger.TokenKey) { k.Slot = "83" }), log: has, contains: "not as the policy says"},
		"another algorithm":            {k: changed(func(k *ledger.TokenKey) { k.Algorithm = "p384" }), log: has, contains: "not as the policy says"},
		"an emulated one among real":   {k: &spare.Record, log: has, real: true, contains: "real ones only"},
		"another key's certificate":    {k: changed(func(k *ledger.TokenKey) { k.Cert = first.Record.Cert }), log: has, contains: "not the same key"},
		"another key's public half":    {k: changed(func(k *ledger.TokenKey) { k.SPKI = first.Record.SPKI }), log: has, contains: "not the same key"},
		"another key's fingerprint":    {k: changed(func(k *ledger.TokenKey) { k.Fingerprint = first.Record.Fingerprint }), log: has, contains: "not the same key"},
		"a certificate that is none":   {k: changed(func(k *ledger.TokenKey) { k.Cert = []byte("cert") }), log: has, contains: "OpenPGP certificate"},
		"a key that has certified":     {k: certified(ssh, spare), log: has, contains: "made OpenPGP certifications"},
		"one more than a log may have": {k: &spare.Record, log: full, contains: "keys already"},
	} {
		cert, err := tokenkey.Join(c.k, c.log, !c.real, p)
		switch {
		case c.contains == "" && (err != nil || cert.Key.Fingerprint() != c.k.Fingerprint):
			t.Errorf("%s: %v", name, err)
		case c.contains != "" && (err == nil || !strings.Contains(err.Error(), c.contains)):
			t.Errorf("%s: %v, want %q", name, err, c.contains)
		}
	}
}

// certified is the ssh key's record with a certificate that has a user id.
func certified(ssh, _ tokenkeytest.Key) *ledger.TokenKey {
	k := ssh.Record
	k.Cert = tokenkeytest.New(tokenkeytest.Spec{Private: ssh.Private}).Record.Cert
	return &k
}

// The attestation must say what the record says.
func TestAttested(t *testing.T) {
	spare := tokenkeytest.New(tokenkeytest.Spec{})
	other := tokenkeytest.New(tokenkeytest.Spec{})
	if f, err := tokenkey.Attested(&spare.Record, nil); err != nil || !f.Emulated || f.Serial != 2 || f.EUCLEAK() {
		t.Fatalf("%+v, %v", f, err)
	}
	old := tokenkeytest.New(tokenkeytest.Spec{Firmware: [3]byte{5, 4, 3}})
	if f, err := tokenkey.Attested(&old.Record, nil); err != nil || !f.EUCLEAK() {
		t.Errorf("%+v, %v", f, err)
	}
	untouched := tokenkeytest.New(tokenkeytest.Spec{Touch: pivkey.TouchCached})
	for name, c := range map[string]struct {
		of   *ledger.TokenKey
		harm func(k *ledger.TokenKey)
	}{
		"another slot":         {&spare.Record, func(k *ledger.TokenKey) { k.Slot = "9c" }},
		"another token":        {&spare.Record, func(k *ledger.TokenKey) { k.Token.Serial++ }},
		"another firmware":     {&spare.Record, func(k *ledger.TokenKey) { k.Token.Firmware = "5.7.2" }},
		"said to be Yubico's":  {&spare.Record, func(k *ledger.TokenKey) { k.Token.Emulated = false }},
		"another key's":        {&spare.Record, func(k *ledger.TokenKey) { k.Attestation = other.Record.Attestation }},
		"another token's":      {&spare.Record, func(k *ledger.TokenKey) { k.Attestation.Intermediate = other.Record.Attestation.Intermediate }},
		"none":                 {&spare.Record, func(k *ledger.TokenKey) { k.Attestation.Slot = []byte("slot") }},
		"a touch now and then": {&untouched.Record, func(*ledger.TokenKey) {}},
	} {
		k := *c.of
		c.harm(&k)
		if _, err := tokenkey.Attested(&k, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRecord(t *testing.T) {
	k := tokenkeytest.New(tokenkeytest.Spec{})
	text, err := tokenkey.Marshal(&k.Record)
	if err != nil {
		t.Fatal(err)
	}
	back, err := tokenkey.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tokenkey.Marshal(back); err != nil || !bytes.Equal(again, text) {
		t.Errorf("%q, %v", again, err)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "more": append(bytes.Clone(text), "reason -\n"...), "cut": text[:len(text)-1], "huge": make([]byte, tokenkey.MaxRecord+1),
		"another domain": bytes.Replace(text, []byte("/v1"), []byte("/v2"), 1), "another slot's name": bytes.Replace(text, []byte(" 9a "), []byte(" 9A "), 1),
		"another fingerprint": bytes.Replace(text, []byte("p256 "), []byte("p256 00"), 1),
	} {
		if _, err := tokenkey.Parse(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	stolen := k.Record
	stolen.Cert = tokenkeytest.New(tokenkeytest.Spec{}).Record.Cert
	if _, err := tokenkey.Marshal(&stolen); err == nil {
		t.Error("a record with another key's certificate was written")
	}
}

func TestSame(t *testing.T) {
	a := tokenkeytest.New(tokenkeytest.Spec{}).Private
	b := &ecdsa.PrivateKey{PublicKey: a.PublicKey}
	if !tokenkey.Same(a.Public(), b.Public()) || tokenkey.Same(nil, a.Public()) || tokenkey.Same(a.Public(), nil) {
		t.Error("public keys")
	}
}

func FuzzRecord(f *testing.F) {
	for _, s := range []tokenkeytest.Spec{{}, {Family: "sshsig", Created: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}} {
		k := tokenkeytest.New(s)
		text, err := tokenkey.Marshal(&k.Record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("touchmark/token-key/v1\nkey a 9c sshsig p256 " + strings.Repeat("00", 20) + " AA==\n"))
	p := inForce(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := tokenkey.Parse(text)
		if err != nil {
			return
		}
		if again, err := tokenkey.Marshal(k); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q, %v", again, err)
		}
		if _, err := tokenkey.Join(k, []tokenkey.Known{{Name: k.Name}}, true, p); err == nil {
			t.Error("a key joined twice")
		}
		_, _ = tokenkey.Attested(k, nil)
	})
}
