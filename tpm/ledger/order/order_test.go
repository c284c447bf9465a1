package order

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

const origin = "touchmark.example/demo"

// key is the note key of this name from a seed.
func key(t testing.TB, name string, seed byte) (note.Signer, note.Verifier, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)), name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v, vkey
}

func samples(t testing.TB) map[string]*Order {
	_, _, vkey := key(t, origin, 9)
	of := func(a Action, reason string) *Order {
		return &Order{Origin: origin, After: State{7, [32]byte{1, 2}}, Action: a, Reason: reason}
	}
	return map[string]*Order{
		"time":       of(&Time{time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}, "somebody typed 2062"),
		"resume":     of(&Resume{"head-unknown", [32]byte{3}, [32]byte{4}}, "the card was replaced, no mirror has the end"),
		"note":       of(&Note{}, "Präsidium 2026-03-04: moved to rack 7"),
		"close":      of(&Close{ledger.LogID{Origin: "touchmark.example/next", Genesis: [32]byte{5}}}, "worn out"),
		"close-last": of(&Close{}, "the project ends"),
		"key":        of(&Key{LogKey: vkey}, "the card with the key was stolen"),
		"key-token":  of(&Key{Token: tokenKey("spare")}, "a spare token"),
		"cert-renew": of(&Cert{Key: "packages", Expires: time.Date(2028, 3, 4, 0, 0, 0, 0, time.UTC)}, "two more years"),
		"cert-never": of(&Cert{Key: "packages"}, "who renews it when we are gone?"),
		"cert-bind":  of(&Cert{Key: "packages", Primary: primary()}, "our release key"),
		"image":      of(&Image{Board: "rpi4", Version: "0.2.0", Serial: 2, Size: 24 << 20, Slot: [32]byte{8, 9}, Image: [32]byte{10, 11}}, "the kernel's CVE of May"),
		"cert-end":   of(&Cert{Key: "packages", Revoke: true, Code: certificate.Compromised}, "the token was stolen"),
	}
}

// tokenKey has the form of a record; what it must be is package tokenkey's.
func tokenKey(name string) *ledger.TokenKey {
	return &ledger.TokenKey{
		Name: name, Slot: "9a", Family: "openpgp-data", Algorithm: "rsa2048", Fingerprint: [20]byte{6, 7}, SPKI: []byte("public"),
		Token: ledger.TokenInfo{Serial: 12345678, Firmware: "5.7.1"}, Attestation: ledger.TokenAttestation{Slot: []byte("slot"), Intermediate: []byte("device")}, Cert: []byte("cert"),
	}
}

// primary is a public key that is none, in the form of one.
func primary() *subkey.Primary {
	p, err := subkey.ParsePrimary([]byte{4, 0x60, 1, 2, 3, 22, 1, 2, 3, 4})
	if err != nil {
		panic(err)
	}
	return p
}

// The golden files were written on 2026-11-22 and are never regenerated.
func TestGolden(t *testing.T) {
	for name, o := range samples(t) {
		text, err := o.Marshal()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, want)
		}
		back, err := Parse(want)
		if err != nil || !reflect.DeepEqual(back, o) {
			t.Errorf("%s: %+v, %v", name, back, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ kind, old, with, want string }{
		{"note", "order-note", "order-mark", "no kind of order"},
		{"note", "order-note/v1", "order-note/v2", "no kind of order"},
		{"note", "order-note", "order-time", "time"},
		{"note", "touchmark/order-note/v1\n", "", "no kind of order"},
		{"note", "origin touch", "origin Touch", "origin"},
		{"note", "after 7", "after 0", "genesis"},
		{"note", "after 7", "after 07", "zeros"},
		{"note", "after 7", "after 1099511627777", "large"},
		{"note", "after 7 01", "after 7 0", "hex"},
		{"note", "reason ", "reason -\nreason ", "reason"},
		{"note", "\nreason UH", "\nmore x\nreason UH", "reason"},
		{"time", "05:06:07Z", "05:06:07", "time"},
		{"time", "2026", "2262", "time"},
		{"resume", "halt head-unknown", "halt Head-Unknown", "halt state"},
		{"resume", "\npcr ", "\nPCR ", "pcr"},
		{"close", "successor touchmark.example/next", "successor -", "origin"},
		{"close-last", "successor - -", "successor -", "fields"},
		{"key", "log-key touchmark.example/demo", "log-key touchmark.example/nemo", ""},
		{"key", "log-key ", "key ", "fields"},
		{"key-token", "key spare 9a", "key spare 9a log-key", "fields"},
		{"key-token", "token 12345678", "token 4294967296", "large"},
		{"key-token", "5.7.1 yubico", "5.7.1 yubikey", "yubico"},
		{"key-token", "\nattestation ", "\nlog-key x\nattestation ", "attestation"},
		{"key-token", "\nreason ", "\nlog-key " + samples(t)["key"].Action.(*Key).LogKey + "\nreason ", "reason"},
		{"image", "board rpi4", "board RPi4", "kind of board"},
		{"image", "version 0.2.0", "version " + strings.Repeat("1", ledger.MaxName+1), "no version"},
		{"image", "serial 2", "serial 0", "serial"},
		{"image", "serial 2", "serial 1099511627777", "large"},
		{"image", "slot 25165824", "slot 25165825", "sectors"},
		{"image", "slot 25165824", "slot 0", "sectors"},
		{"image", "slot 25165824", "slot 268435968", "large"},
		{"image", "slot 25165824 08", "slot 25165824 0", "hex"},
		{"image", "\nimage ", "\nIMAGE ", "image"},
		{"cert-renew", "key packages", "key", "fields"},
		{"cert-renew", "key packages", "key " + strings.Repeat("a", ledger.MaxName+1), "no name of a key"},
		{"cert-renew", "certificate renew", "certificate extend", "renew, revoke or bind"},
		{"cert-renew", "certificate renew", "certificate revoke", "code"},
		{"cert-renew", "expires 2028-03-04T00:00:00Z", "expires 2028-03-04", "time"},
		{"cert-never", "never", "Never", "time"},
		{"cert-never", "expires never", "code 1", "expires"},
		{"cert-bind", "primary BGAB", "primary AGAB", "version 4"},
		{"cert-bind", "primary ", "primary -\nprimary ", "version 4"},
		{"cert-bind", "certificate bind", "certificate renew", "expires"},
		{"cert-bind", "\nreason ", "\nexpires never\nreason ", "reason"},
		{"cert-end", "code 2", "code 4", "large"},
		{"cert-end", "code 2", "code 02", "zeros"},
		{"cert-end", "code 2\n", "code 2\nexpires never\n", "reason"},
	} {
		text, err := samples(t)[c.kind].Marshal()
		if err != nil {
			t.Fatal(err)
		}
		mutant := strings.Replace(string(text), c.old, c.with, 1)
		if mutant == string(text) {
			t.Fatalf("%q is not in the %s order", c.old, c.kind)
		}
		if _, err := Parse([]byte(mutant)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %q: %v, want %q", c.kind, c.with, err, c.want)
		}
	}
	if _, err := Parse(make([]byte, MaxText+1)); err == nil {
		t.Error("an endless order was accepted")
	}
}

func TestMarshalRefuses(t *testing.T) {
	for name, harm := range map[string]func(o *Order){
		"nothing":           func(o *Order) { o.Action = nil },
		"no reason":         func(o *Order) { o.Reason = "" },
		"two lines":         func(o *Order) { o.Reason = "a\nb" },
		"an escape":         func(o *Order) { o.Reason = "\x1b[2J" },
		"not UTF-8":         func(o *Order) { o.Reason = "\xff" },
		"bidi override":     func(o *Order) { o.Reason = "a\u202eb" },
		"a long reason":     func(o *Order) { o.Reason = strings.Repeat("a", message.MaxHuman+1) },
		"no origin":         func(o *Order) { o.Origin = "" },
		"empty log":         func(o *Order) { o.After.Size = 0 },
		"no time":           func(o *Order) { o.Action = &Time{} },
		"no halt state":     func(o *Order) { o.Action = &Resume{} },
		"key of another":    func(o *Order) { o.Origin = "other.example"; o.Action = samples(t)["key"].Action },
		"no key's name":     func(o *Order) { o.Action = &Cert{} },
		"unknown code":      func(o *Order) { o.Action = &Cert{Key: "packages", Revoke: true, Code: 4} },
		"not a key":         func(o *Order) { o.Action = &Key{LogKey: "x"} },
		"successor's space": func(o *Order) { o.Action = &Close{ledger.LogID{Origin: "a b"}} },
	} {
		o := *samples(t)["note"]
		harm(&o)
		if text, err := o.Marshal(); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestOpen(t *testing.T) {
	a1, v1, _ := key(t, "admin1", 1)
	a2, v2, _ := key(t, "admin2", 2)
	a3, v3, _ := key(t, "admin3", 3)
	log, _, _ := key(t, origin, 9)
	oldLog, _, _ := key(t, origin, 8)
	team := []note.Verifier{v1, v2, v3}
	sign := func(o *Order, by ...note.Signer) []byte {
		text, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		msg, err := message.SignNote(text, by...)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	all := samples(t)
	for _, c := range []struct {
		name, kind string
		by         []note.Signer
		ok         bool
	}{
		{"two of three", "close", []note.Signer{a3, a1}, true},
		{"three of three", "resume", []note.Signer{a1, a2, a3}, true},
		{"one of three", "close", []note.Signer{a2}, false},
		{"nobody", "note", nil, false},
		{"two and a log key", "note", []note.Signer{a1, a2, log}, false},
		{"a new log key and two", "key", []note.Signer{a1, log, a2}, true},
		{"a new log key and one", "key", []note.Signer{a1, log}, false},
		{"two without the new log key", "key", []note.Signer{a1, a2}, false},
		{"two and the old log key", "key", []note.Signer{a1, a2, oldLog}, false},
	} {
		msg := sign(all[c.kind], c.by...)
		o, err := Open(msg, team, 2)
		if (err == nil) != c.ok || c.ok && !reflect.DeepEqual(o, all[c.kind]) {
			t.Errorf("%s: %+v, %v", c.name, o, err)
		}
	}
	msg := sign(all["note"], a1, a2)
	if _, err := Open(msg, nil, 0); err == nil {
		t.Error("a quorum of none was enough")
	}
	if _, err := Open(append(msg, msg...), team, 2); err == nil {
		t.Error("two notes were taken for one")
	}
	if _, err := OpenEntry(&ledger.Order{Action: ledger.KindClose, Note: msg}, team, 2); err == nil {
		t.Error("a note closed a log")
	}
	if o, err := OpenEntry(&ledger.Order{Action: ledger.KindNote, Note: msg}, team, 2); err != nil || o.Reason != all["note"].Reason {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestSign: a text becomes a note, a note gets one more signature, and nothing else is signed.
func TestSign(t *testing.T) {
	a1, v1, _ := key(t, "admin1", 1)
	a2, v2, _ := key(t, "admin2", 2)
	text, err := samples(t)["note"].Marshal()
	if err != nil {
		t.Fatal(err)
	}
	once, err := Sign(text, a1)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := Sign(once, a2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(once, []note.Verifier{v1, v2}, 2); err == nil {
		t.Error("one signature is a quorum of two")
	}
	if o, err := Open(twice, []note.Verifier{v1, v2}, 2); err != nil || o.Reason != samples(t)["note"].Reason {
		t.Errorf("signed twice: %+v, %v", o, err)
	}
	other, err := message.SignNote([]byte("something else\n"), a1)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, []byte("something else\n"), other, bytes.Replace(once, []byte("admin1"), []byte("a b"), 1)} {
		if _, err := Sign(bad, a2); err == nil {
			t.Errorf("signed %q", bad)
		}
	}
}

// TestAfter: an order names the state that the checkpoint is of.
func TestAfter(t *testing.T) {
	log, _, _ := key(t, origin, 9)
	checkpoint, err := message.SignNote(ledger.CheckpointBody(origin, 7, [32]byte{1, 2}), log)
	if err != nil {
		t.Fatal(err)
	}
	if got, s, err := After(checkpoint); err != nil || got != origin || s != (State{7, [32]byte{1, 2}}) {
		t.Errorf("%s, %+v, %v", got, s, err)
	}
	for _, bad := range []string{"", "no note", strings.Replace(string(checkpoint), "\n7\n", "\n07\n", 1)} {
		if _, _, err := After([]byte(bad)); err == nil {
			t.Errorf("%q is a checkpoint", bad)
		}
	}
}

func TestHashIsOfTheText(t *testing.T) {
	a1, _, _ := key(t, "admin1", 1)
	a2, _, _ := key(t, "admin2", 2)
	text := []byte("a\n")
	seen := map[[32]byte]bool{}
	for _, by := range [][]note.Signer{nil, {a1}, {a2, a1}} {
		msg, err := message.SignNote(text, by...)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Hash(msg)
		if err != nil {
			t.Fatal(err)
		}
		seen[h] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d hashes of one order", len(seen))
	}
	if _, err := Hash([]byte("not a note")); err == nil {
		t.Error("what is no note has a hash")
	}
}

// What a cert order has the token sign names the order and the entry's time.
func TestCertification(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	all := samples(t)
	x, err := all["cert-renew"].Certification(at, [32]byte{7})
	if want := (certificate.Certification{Created: at, Expires: time.Date(2028, 3, 4, 0, 0, 0, 0, time.UTC), Origin: origin, Order: message.JobID{7}}); err != nil || x != want {
		t.Errorf("%+v, %v", x, err)
	}
	x, err = all["cert-end"].Certification(at, [32]byte{7})
	if want := (certificate.Certification{Created: at, Revoke: true, Code: certificate.Compromised, Origin: origin, Order: message.JobID{7}}); err != nil || x != want {
		t.Errorf("%+v, %v", x, err)
	}
	if _, err := all["note"].Certification(at, [32]byte{7}); err == nil {
		t.Error("a note certifies")
	}
}

func TestPropertyIdentity(t *testing.T) {
	_, _, vkey := key(t, origin, 9)
	hash := rapid.Custom(func(t *rapid.T) [32]byte { return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash")) })
	rapid.Check(t, func(t *rapid.T) {
		o := &Order{Origin: origin, After: State{rapid.Uint64Range(1, ledger.MaxSize).Draw(t, "size"), hash.Draw(t, "root")}}
		o.Reason = rapid.StringOfN(rapid.RuneFrom([]rune("aZ 0.äß€")), 1, 100, -1).Draw(t, "reason")
		o.Action = []Action{
			&Time{time.Unix(rapid.Int64Range(1577836800, 7258118399).Draw(t, "time"), 0).UTC()},
			&Resume{rapid.StringMatching(`[a-z][a-z-]{0,20}`).Draw(t, "halt"), hash.Draw(t, "head"), hash.Draw(t, "pcr")},
			&Note{}, &Close{}, &Close{ledger.LogID{Origin: "next.example", Genesis: hash.Draw(t, "genesis")}}, &Key{LogKey: vkey},
			&Key{Token: tokenKey(rapid.StringMatching(`[!-~]{1,64}`).Draw(t, "name"))},
			&Cert{Key: rapid.StringMatching(`[!-~]{1,64}`).Draw(t, "key"), Expires: time.Unix(rapid.Int64Range(1577836800, 7258118399).Draw(t, "expires"), 0).UTC()},
			&Cert{Key: "a", Revoke: true, Code: certificate.Reason(rapid.IntRange(0, 3).Draw(t, "code"))},
		}[rapid.IntRange(0, 8).Draw(t, "action")]
		text, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(text)
		if err != nil || !reflect.DeepEqual(back, o) {
			t.Fatalf("%+v, want %+v, %v", back, o, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, o := range samples(f) {
		text, err := o.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := Parse(text)
		if err != nil {
			return
		}
		again, err := o.Marshal()
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("second encoding %q, %v", again, err)
		}
	})
}
