package ledger

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/quote"
)

const testOrigin = "touchmark.example/demo"

// testVKey is the vkey of an all-zero Ed25519 seed under testOrigin.
func testVKey(t testing.TB) string {
	t.Helper()
	_, vkey, err := note.GenerateKey(bytes.NewReader(make([]byte, 32)), testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func samples(t testing.TB) map[string]any {
	name := append([]byte{0, 0x0b}, fill(32, 7)...)
	a := quote.Attestation{Attest: fill(40, 1), Sig: fill(20, 2)}
	digest := message.Digest{Alg: message.SHA256, Sum: fill(32, 9)}
	digest512 := message.Digest{Alg: message.SHA512, Sum: fill(64, 8)}
	return map[string]any{
		KindGenesis: &Genesis{
			Origin: testOrigin, Predecessor: LogID{"touchmark.example/first", [32]byte{8}}, LogKey: testVKey(t), AK: fill(80, 3),
			Creation: quote.Creation{Data: fill(10, 4), Attest: fill(11, 5), Sig: fill(12, 6)},
			EK:       fill(70, 8),
			Head:     0x01800100, HeadName: name, Base: [32]byte{7}, PCR: 14,
			Keys: []TokenKey{
				{Name: "packages", Slot: "9c", Family: "openpgp-data", Algorithm: "p256", Fingerprint: [20]byte{1, 2}, SPKI: fill(91, 1),
					Token: TokenInfo{Serial: 1234567, Firmware: "5.7.1", Emulated: true}, Attestation: TokenAttestation{Slot: fill(50, 2), Intermediate: fill(51, 3)}, Cert: fill(60, 4)},
				{Name: "media", Slot: "82", Family: "openpgp-data", Algorithm: "rsa4096", Fingerprint: [20]byte{3, 4}, SPKI: fill(550, 5),
					Token: TokenInfo{Serial: 1234567, Firmware: "5.7.1", Emulated: true}, Attestation: TokenAttestation{Slot: fill(52, 6), Intermediate: fill(51, 3)}, Cert: fill(61, 7)},
			},
			Policy: []byte("version = 1\n\n\u2014 key c2ln\n"),
		},
		KindBoot: &Boot{Number: 3, Firmware: "0.1.0", Clock: ClockOperator, Admin: 4, Committed: 5, Certify: a, Quote: a, Recovery: "clean",
			Measured: Measured{Image: [32]byte{1}, Programs: [32]byte{2}}},
		KindIntent: &Intent{Sequence: 7, Key: [20]byte{1}, Refusals: 2, Job: message.JobID{5},
			Approval: []byte("approval\n\n"), Submission: []byte("submission\n\n"), SignDigests: []message.Digest{digest, digest512}},
		KindOutcome: &Outcome{Intent: 6, Job: message.JobID{5}, Items: []ItemResult{
			{State: Signed, Signature: fill(100, 1)}, {State: Withheld, Hash: [32]byte{9}}, {State: Denied}, {State: TimedOut},
			{State: Failed, Reason: "token-removed"}, {State: NotStarted, Reason: "denied"}, {State: Unknown}}},
		KindAttest: &Attest{Size: 7, Certify: a, Quote: a},
		KindUpdate: &Update{From: "0.1.0", To: "0.2.0", Image: fill(32, 6)},
		KindPolicy: &Order{Action: KindPolicy, Mirrored: true, Note: []byte("version = 1\n\n\u2014 key c2ln\n")},
		KindKey:    order(KindKey),
		KindCert:   &Order{Action: KindCert, Mirrored: true, Previous: 4, Sign: digest, Note: []byte("text\n\n\u2014 key c2ln\n")},
		KindTime:   order(KindTime),
		KindResume: &Order{Action: KindResume, Previous: 4, PCR: [32]byte{1}, Certify: a, Note: []byte("text\n\n\u2014 key c2ln\n")},
		KindNote:   order(KindNote),
		KindClose:  order(KindClose),
		KindImage:  order(KindImage),
	}
}

func order(kind string) *Order {
	return &Order{Action: kind, Previous: 4, Note: []byte("text\n\n\u2014 key c2ln\n")}
}

// The golden files were written on 2026-11-22 and are never regenerated: they
// are what logs out there hold.
func TestGolden(t *testing.T) {
	for kind, body := range samples(t) {
		text, err := Marshal(Header{Index: 6, Time: testTime}, body)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		path := filepath.Join("testdata", kind+".golden")
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, want) {
			t.Errorf("%s:\n%s\nwant\n%s", kind, text, want)
		}
		h, back, err := Parse(want)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if h != (Header{Index: 6, Time: testTime}) || !reflect.DeepEqual(back, body) {
			t.Errorf("%s: parsed %+v, want %+v", kind, back, body)
		}
		if KindOf(back) != kind {
			t.Errorf("KindOf = %q, want %q", KindOf(back), kind)
		}
	}
}

// Every single-byte change of a valid entry is refused or is another entry
// that has its own one encoding.
func TestEveryByteMatters(t *testing.T) {
	all := samples(t)
	all[KindIntent].(*Intent).Refused = []Refused{{"busy", 1}, {"denied", 1}}
	for kind, body := range all {
		text, err := Marshal(Header{Time: testTime}, body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range text {
			for _, flip := range []byte{0x01, 0x20, 0x80} {
				mutant := bytes.Clone(text)
				mutant[i] ^= flip
				checkIdentity(t, kind, mutant)
			}
		}
	}
}

func checkIdentity(t *testing.T, what string, text []byte) {
	t.Helper()
	h, body, err := Parse(text)
	if err != nil {
		return
	}
	again, err := Marshal(h, body)
	if err != nil {
		t.Fatalf("%s: parsed but not marshalled: %v\n%q", what, err, text)
	}
	if !bytes.Equal(again, text) {
		t.Fatalf("%s: second encoding\n%q\n%q", what, text, again)
	}
}

func TestRefused(t *testing.T) {
	good := map[string]string{}
	for kind, body := range samples(t) {
		text, err := Marshal(Header{Index: 6, Time: testTime}, body)
		if err != nil {
			t.Fatal(err)
		}
		good[kind] = string(text)
	}
	for _, tt := range []struct{ name, kind, old, with, want string }{
		{"unknown kind", KindBoot, "kind boot", "kind mark", "unknown"},
		{"nothing to sign", KindCert, "sign sha256:", "sigh sha256:", "sign"},
		{"sign line of a note", KindNote, "order ", "sign sha256:" + strings.Repeat("09", 32) + "\norder ", "order"},
		{"body of another kind", KindBoot, "kind boot", "kind resume", "mirrored"},
		{"policy in an order", KindNote, "order ", "policy ", "order"},
		{"order in a policy", KindPolicy, "policy ", "order ", "policy"},
		{"mirrored perhaps", KindNote, "mirrored no", "mirrored maybe", "none of"},
		{"resume without HEAD", KindResume, "certify " + canon.Base64(fill(40, 1)), "certify -", "missing"},
		{"update to itself", KindUpdate, "to 0.2.0", "to 0.1.0", "itself"},
		{"image of 31 bytes", KindUpdate, "image 06", "image ", "hex"},
		{"half a predecessor", KindGenesis, "predecessor touchmark.example/first", "predecessor -", "origin"},
		{"no index", KindBoot, "index 6\n", "", "index"},
		{"leading zero", KindBoot, "index 6", "index 06", "leading zeros"},
		{"huge index", KindBoot, "index 6", "index 1099511627776", "too large"},
		{"local time", KindBoot, "05:06:07Z", "05:06:07+01:00", "time"},
		{"year 2300", KindBoot, "2026-", "2300-", "time"},
		{"unknown clock", KindBoot, "clock operator", "clock gps", "none of"},
		{"missing attestation", KindBoot, "certify " + canon.Base64(fill(40, 1)), "certify -", "missing"},
		{"trailing line", KindBoot, " - 02" + strings.Repeat("0", 62) + "\n", " - 02" + strings.Repeat("0", 62) + "\nmore x\n", "nothing more"},
		{"measured zeros", KindBoot, " - 02", " " + strings.Repeat("0", 64) + " 02", "zeros"},
		{"measured once less", KindBoot, " - 02", " 02", "measured"},
		{"bad word", KindBoot, "recovery clean", "recovery Clean", "word"},
		{"other domain", KindBoot, "touchmark/entry/v1", "touchmark/entry/v2", "want"},
		{"foreign log key", KindGenesis, "origin " + testOrigin, "origin other.example", "named"},
		{"bad origin", KindGenesis, "origin " + testOrigin, "origin Other Origin", "fields"},
		{"not an NV index", KindGenesis, "head 25166080", "head 5", "NV index"},
		{"PCR 7", KindGenesis, "pcr 14", "pcr 7", "8..15"},
		{"PCR 16", KindGenesis, "pcr 14", "pcr 16", "too large"},
		{"name algorithm", KindGenesis, " 000b07", " 000c07", "SHA-256 Name"},
		{"token word", KindGenesis, "5.7.1 emulated", "5.7.1 maybe", "none of"},
		{"no cert", KindGenesis, "cert " + canon.Base64(fill(60, 4)), "cert -", "missing"},
		{"no sign line", KindIntent, "sign ", "Sign ", "sign lines"},
		{"bad digest", KindIntent, "sign sha256:", "sign sha257:", "digest"},
		{"approval length", KindIntent, "approval 10", "approval 9", ""},
		{"denied with value", KindOutcome, "item denied -", "item denied x", "no value"},
		{"unknown state", KindOutcome, "item denied -", "item refused -", "unknown"},
		{"empty signature", KindOutcome, "item signed " + canon.Base64(fill(100, 1)), "item signed -", "missing"},
		{"size 0", KindAttest, "size 7", "size 0", "never committed"},
		{"half a quote", KindAttest, "quote " + canon.Base64(fill(40, 1)), "quote -", "together"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good[tt.kind], tt.old, tt.with, 1)
			if text == good[tt.kind] {
				t.Fatalf("%q not found in the sample", tt.old)
			}
			_, _, err := Parse([]byte(text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestRefusedLines holds the counts by code to their one encoding; without any,
// an intent is what it was before there were such lines.
func TestRefusedLines(t *testing.T) {
	in := samples(t)[KindIntent].(*Intent)
	const none, full = "refusals 2\n", "refusals 9\nrefused bad-message 7\nrefused cancelled 2\n"
	plain, err := Marshal(Header{Index: 6, Time: testTime}, in)
	if err != nil {
		t.Fatal(err)
	}
	in.Refusals, in.Refused = 9, []Refused{{"bad-message", 7}, {"cancelled", 2}}
	text, err := Marshal(Header{Index: 6, Time: testTime}, in)
	if err != nil || string(text) != strings.Replace(string(plain), none, full, 1) {
		t.Fatalf("%v: %s", err, text)
	}
	if _, back, err := Parse(text); err != nil || !reflect.DeepEqual(back, in) {
		t.Errorf("%v: %+v", err, back)
	}
	many := ""
	for i := range MaxCodes + 1 {
		many += fmt.Sprintf("refused c%02d 1\n", i)
	}
	for lines, want := range map[string]string{
		"refusals 9\nrefused bad-message 7\n":                      "2 short of refusals 9",
		"refusals 9\nrefused bad-message 10\n":                     "too large",
		"refusals 9\nrefused bad-message 7\nrefused cancelled 3\n": "too large",
		"refusals 9\nrefused bad-message 9\nrefused cancelled 0\n": "not written down",
		"refusals 0\nrefused bad-message 0\n":                      "not written down",
		"refusals 9\nrefused cancelled 2\nrefused bad-message 7\n": "rising order",
		"refusals 9\nrefused cancelled 2\nrefused cancelled 7\n":   "rising order",
		"refusals 9\nrefused Bad 9\n":                              "word",
		"refusals 9\nrefused bad-message\n":                        "fields",
		"refusals 9\nrefused bad-message 09\n":                     "leading zeros",
		fmt.Sprintf("refusals %d\n%s", MaxCodes, many):             `want "job"`,
	} {
		mutant := strings.Replace(string(plain), none, lines, 1)
		if _, _, err := Parse([]byte(mutant)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", lines[:min(len(lines), 60)], err, want)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	s := samples(t)
	tooMany := &Outcome{Items: make([]ItemResult, MaxItems+1)}
	for i := range tooMany.Items {
		tooMany.Items[i] = ItemResult{State: Unknown}
	}
	big := *s[KindGenesis].(*Genesis)
	big.Policy = append(bytes.Repeat([]byte("x"), MaxNote-1), '\n')
	big.AK = fill(MaxPublic, 1)
	big.Keys = slices.Clone(big.Keys)
	big.Keys[0].Cert = fill(MaxCert, 1)
	keys := func(change func(k *TokenKey)) *Genesis {
		g := *s[KindGenesis].(*Genesis)
		second := TokenKey{Name: "other", Slot: "9a", Family: "sshsig", Algorithm: "p256", Fingerprint: [20]byte{9}, SPKI: fill(91, 9),
			Token: g.Keys[0].Token, Attestation: g.Keys[0].Attestation, Cert: fill(60, 9)}
		change(&second)
		g.Keys = []TokenKey{g.Keys[0], second}
		return &g
	}
	many := keys(func(*TokenKey) {})
	for i := len(many.Keys); i <= MaxKeys; i++ {
		k := many.Keys[1]
		k.Name, k.Slot, k.Fingerprint = fmt.Sprintf("k%d", i), fmt.Sprintf("8%d", i), [20]byte{byte(10 + i)}
		many.Keys = append(many.Keys, k)
	}
	if _, err := Marshal(Header{Time: testTime}, keys(func(*TokenKey) {})); err != nil {
		t.Error(err)
	}
	for name, body := range map[string]any{
		"no keys": &Genesis{Origin: testOrigin}, "a key too many": many,
		"a name twice":        keys(func(k *TokenKey) { k.Name = "packages" }),
		"a slot twice":        keys(func(k *TokenKey) { k.Slot = "9c" }),
		"a fingerprint twice": keys(func(k *TokenKey) { k.Fingerprint = [20]byte{1, 2} }),
		"not an entry":        7, "empty outcome": &Outcome{}, "17 items": tooMany, "empty genesis": &Genesis{},
		"over 60 KiB": &big, "item without state": &Outcome{Items: []ItemResult{{}}},
	} {
		if b, err := Marshal(Header{Time: testTime}, body); err == nil {
			t.Errorf("%s: marshalled %d bytes", name, len(b))
		}
	}
	if _, err := Marshal(Header{}, s[KindBoot]); err == nil {
		t.Error("the year 1 was marshalled")
	}
}

func TestQuoteMayBeMissing(t *testing.T) {
	a := &Attest{Size: 1, Certify: quote.Attestation{Attest: []byte{1}, Sig: []byte{2}}}
	text, err := Marshal(Header{Time: testTime}, a)
	if err != nil {
		t.Fatal(err)
	}
	_, back, err := Parse(text)
	if err != nil || back.(*Attest).HasQuote() {
		t.Errorf("%v, %v", back, err)
	}
	if !bytes.HasSuffix(text, []byte("quote - -\n")) {
		t.Errorf("%q", text)
	}
}

func TestStates(t *testing.T) {
	for state, want := range map[State][4]bool{ // asked; may have signed: HEAD took it, did not; counts
		Signed: {true, false, false, true}, Withheld: {true, true, true, true}, Unknown: {true, true, true, true},
		TimedOut: {true, true, true, false}, Failed: {true, true, true, false},
		Denied: {false, true, false, false}, NotStarted: {false, true, false, false},
	} {
		got := [4]bool{state.Asked(), state.MayHaveSigned(true), state.MayHaveSigned(false), state.Counts()}
		if got != want {
			t.Errorf("%s: %v, want %v", state, got, want)
		}
	}
}

func TestOutsideInfoSeparatesItsParts(t *testing.T) {
	seen := map[string]bool{}
	ab, a := TokenAttestation{Slot: []byte("ab"), Intermediate: []byte("c")}, TokenAttestation{Slot: []byte("a"), Intermediate: []byte("bc")}
	for _, a := range [][]TokenAttestation{{ab}, {a}, {ab, a}, {a, ab}, {{Slot: []byte("abc")}}} {
		for _, origin := range []string{"a.example", "b.example"} {
			for _, nonce := range [][32]byte{{}, {1}} {
				seen[string(OutsideInfo(origin, a, nonce))] = true
			}
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d different values of 20", len(seen))
	}
}

func TestLeafHash(t *testing.T) {
	if got, want := LeafHash([]byte("abc")), sha256.Sum256([]byte("\x00abc")); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestPropertyIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, MaxItems).Draw(t, "items")
		o := &Outcome{Intent: rapid.Uint64Range(0, MaxSize).Draw(t, "intent")}
		for range n {
			it := ItemResult{State: rapid.SampledFrom([]State{Signed, Withheld, Denied, TimedOut, Failed, NotStarted, Unknown}).Draw(t, "state")}
			switch it.State {
			case Signed:
				it.Signature = rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "sig")
			case Withheld:
				it.Hash = [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
			case Failed, NotStarted:
				it.Reason = rapid.StringMatching(`[a-z][a-z0-9.-]{0,20}[a-z0-9]`).Draw(t, "reason")
			}
			o.Items = append(o.Items, it)
		}
		h := Header{Index: rapid.Uint64Range(0, MaxSize-1).Draw(t, "index"), Time: testTime.Add(time.Duration(rapid.Int64Range(0, 1<<31).Draw(t, "time")) * time.Second)}
		text, err := Marshal(h, o)
		if err != nil {
			t.Fatal(err)
		}
		h2, back, err := Parse(text)
		if err != nil || h2 != h || !reflect.DeepEqual(back, o) {
			t.Fatalf("%v %+v, want %+v", err, back, o)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, body := range samples(f) {
		text, err := Marshal(Header{Index: 1, Time: testTime}, body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) { checkIdentity(t, "fuzz", text) })
}
