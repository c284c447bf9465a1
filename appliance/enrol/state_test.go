package enrol

import (
	"bytes"
	"os"
	"reflect"
	"testing"
	"time"

	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

func fullState() *state {
	return &state{
		policy: [32]byte{1}, userID: "Test <t@touchmark.example>", nonce: [32]byte{2}, sameHead: true,
		predecessor: ledger.LogID{Origin: "touchmark.example/old", Genesis: [32]byte{3}},
		time:        time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
		asked:       true, before: [32]byte{4}, attestation: ledger.TokenAttestation{Slot: []byte("slot"), Intermediate: []byte("other")},
		cert: []byte("cert"), ekRead: true, ek: []byte("ek"), akAsked: true, ak: []byte("ak"),
		creation: quote.Creation{Data: []byte("d"), Attest: []byte("a"), Sig: []byte("s")}, base: [32]byte{5}, headAsked: true,
	}
}

func TestStateIdentity(t *testing.T) {
	for _, s := range []*state{fullState(), {time: fullState().time, userID: "x"}} {
		dir := t.TempDir()
		if err := s.write(dir); err != nil {
			t.Fatal(err)
		}
		again, err := readState(dir)
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v, want %+v: %v", again, s, err)
		}
		if err := s.done(dir); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v left: %v", left, err)
		}
	}
}

func FuzzState(f *testing.F) {
	text, err := fullState().marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseState(text)
		if err != nil {
			return
		}
		if again, err := s.marshal(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%v %q", err, again)
		}
	})
}

func TestLogKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := makeLogKey(dir, "touchmark.example/test")
	if err != nil {
		t.Fatal(err)
	}
	again, err := makeLogKey(dir, "touchmark.example/test")
	if err != nil || again.secret != first.secret || again.public != first.public {
		t.Errorf("another key: %v", err)
	}
	for _, bad := range []string{"", "PRIVATE+KEY+a+00000000+AQ==", "words"} {
		if _, err := parseLogKey(bad); err == nil {
			t.Errorf("%q was taken for a log key", bad)
		}
	}
}
