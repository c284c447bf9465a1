package progress

import (
	"bytes"
	"os"
	"reflect"
	"testing"
	"time"

	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

func fullState() *State {
	return &State{
		Policy: [32]byte{1}, UserID: "Test <t@touchmark.example>", Nonce: [32]byte{2}, SameHead: true, Expires: time.Date(2028, 5, 1, 12, 0, 0, 0, time.UTC),
		Predecessor: ledger.LogID{Origin: "touchmark.example/old", Genesis: [32]byte{3}},
		Time:        time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
		Keys:        []Key{{Asked: true, Before: [32]byte{4}, Attestation: ledger.TokenAttestation{Slot: []byte("slot"), Intermediate: []byte("other")}, Cert: []byte("cert")}, {}},
		Secrets:     true, EKRead: true, EK: []byte("ek"), AKAsked: true, AK: []byte("ak"),
		Creation: quote.Creation{Data: []byte("d"), Attest: []byte("a"), Sig: []byte("s")}, Base: [32]byte{5}, HeadAsked: true,
	}
}

func TestStateIdentity(t *testing.T) {
	for _, s := range []*State{fullState(), {Time: fullState().Time, UserID: "x"}} {
		dir := t.TempDir()
		if err := s.Write(dir); err != nil {
			t.Fatal(err)
		}
		again, err := Read(dir)
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v, want %+v: %v", again, s, err)
		}
		if err := s.Done(dir); err != nil {
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
		s, err := parse(text)
		if err != nil {
			return
		}
		if again, err := s.marshal(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%v %q", err, again)
		}
	})
}
