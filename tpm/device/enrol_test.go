package device_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
	"touchmark/tpm/quote"
)

func TestNotEnrolled(t *testing.T) {
	tpm := open(t, swtpm.Start(t), device.Config{})
	for what, err := range map[string]error{
		"Head":        second(tpm.Head()),
		"ExtendHead":  tpm.ExtendHead(x1),
		"CertifyHead": second(tpm.CertifyHead(x1)),
		"QuotePCR":    second(tpm.QuotePCR(x1)),
		"AK":          second(tpm.AK()),
	} {
		want := map[bool]error{true: device.ErrNoHead, false: device.ErrNoAK}[strings.HasSuffix(what, "tendHead") || what == "Head"]
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
}

func TestEnrolTwice(t *testing.T) {
	s, tpm, ak := enrolled(t)
	if got, err := tpm.AK(); err != nil || !bytes.Equal(got.Marshal(), ak.Marshal()) {
		t.Errorf("AK read back: %v", err)
	}
	if _, err := tpm.Enrol(outside); !errors.Is(err, device.ErrAKExists) {
		t.Errorf("second enrolment: %v", err)
	}
	must(t, tpm.ExtendHead(x1))
	if _, err := tpm.Enrol(outside); !errors.Is(err, device.ErrHeadExists) {
		t.Errorf("enrolment over a written HEAD: %v", err)
	}
	if _, err := s.Tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81010010"); err != nil {
		t.Fatal(err)
	}
	if _, err := tpm.Enrol(outside); !errors.Is(err, device.ErrHeadExists) {
		t.Errorf("enrolment over a written HEAD without AK: %v", err)
	}
	if _, err := tpm.CertifyHead(x1); !errors.Is(err, device.ErrNoAK) {
		t.Errorf("CertifyHead without AK: %v", err)
	}
	if _, err := tpm.QuotePCR(x1); !errors.Is(err, device.ErrNoAK) {
		t.Errorf("QuotePCR without AK: %v", err)
	}
	values(t, tpm, extend([32]byte{}, x1), [32]byte{})
}

// TestEnrolAgainMakesAnotherKey: a HEAD that was never written serves again,
// an AK never does.
func TestEnrolAgainMakesAnotherKey(t *testing.T) {
	s, tpm, first := enrolled(t)
	if _, err := s.Tool("tpm2_evictcontrol", "-C", "o", "-c", "0x81010010"); err != nil {
		t.Fatal(err)
	}
	if again := enrol(t, tpm); bytes.Equal(again.Name(), first.Name()) {
		t.Error("the same attestation key was made twice")
	}
}

func TestAbandon(t *testing.T) {
	_, tpm, first := enrolled(t)
	must(t, tpm.Abandon())
	if err := tpm.Abandon(); !errors.Is(err, device.ErrNoAK) {
		t.Errorf("second time: %v", err)
	}
	if again := enrol(t, tpm); bytes.Equal(again.Name(), first.Name()) {
		t.Error("the same attestation key was made twice")
	}
	must(t, tpm.ExtendHead(x1))
	if err := tpm.Abandon(); !errors.Is(err, device.ErrHeadExists) {
		t.Errorf("with a log: %v", err)
	}
	must(t, second(tpm.AK()))
}

func TestEnrolRefusesForeignObjects(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	if _, err := s.Tool("tpm2_nvdefine", "0x01800100", "-C", "o", "-s", "32", "-a", "ownerread|ownerwrite|authread|authwrite"); err != nil {
		t.Fatal(err)
	}
	var foreign *device.ForeignHeadError
	if _, err := tpm.Enrol(outside); !errors.As(err, &foreign) || foreign.Index != 0x01800100 {
		t.Errorf("Enrol: %v", err)
	}
	if _, err := tpm.Head(); !errors.As(err, &foreign) {
		t.Errorf("Head: %v", err)
	}
	if _, err := s.Tool("tpm2_nvundefine", "0x01800100", "-C", "o"); err != nil {
		t.Fatal(err)
	}
	ctx := t.TempDir() + "/ctx"
	if _, err := s.Tool("tpm2_createprimary", "-C", "o", "-c", ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tool("tpm2_evictcontrol", "-C", "o", "-c", ctx, "0x81010010"); err != nil {
		t.Fatal(err)
	}
	if _, err := tpm.Enrol(outside); !errors.Is(err, device.ErrAKExists) {
		t.Errorf("Enrol over a foreign key: %v", err)
	}
	var foreignAK *device.ForeignAKError
	if _, err := tpm.AK(); !errors.As(err, &foreignAK) {
		t.Errorf("AK: %v", err)
	}
}

func TestEnrolPlatformLocked(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	if _, err := s.Tool("tpm2_changeauth", "-c", "p", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := tpm.Enrol(outside); !errors.Is(err, device.ErrPlatformLocked) {
		t.Errorf("Enrol: %v", err)
	}
	if _, err := tpm.AK(); !errors.Is(err, device.ErrNoAK) {
		t.Errorf("the failed enrolment left its key: %v", err)
	}
	must(t, s.PowerCycle()) // the platform authorization lasts until the next
	enrol(t, tpm)
}

func TestEnrolRefusesLongOutside(t *testing.T) {
	tpm := open(t, swtpm.Start(t), device.Config{})
	if _, err := tpm.Enrol(make([]byte, quote.MaxOutside+1)); err == nil {
		t.Error("accepted")
	}
	if n := len(tpm.Counts()); n != 0 {
		t.Errorf("%d commands sent for it", n)
	}
}

// TestEnrolFaults makes every command of an enrolment fail, applied and not:
// each time either it works all the same or nothing but an unwritten HEAD is
// left, and the next enrolment succeeds. No transient object stays.
func TestEnrolFaults(t *testing.T) {
	codes := []uint32{swtpm.NVReadPublic, swtpm.ReadPublic, swtpm.CreatePrimary, swtpm.EvictControl,
		swtpm.CertifyCreation, swtpm.NVDefineSpace, swtpm.GetCapability, swtpm.FlushContext}
	for _, code := range codes {
		for _, kind := range []swtpm.Kind{swtpm.Refuse, swtpm.ApplyAndRefuse, swtpm.Close, swtpm.ApplyAndClose} {
			t.Run(fmt.Sprintf("%#x/%d", code, kind), func(t *testing.T) { enrolFault(t, code, kind) })
		}
	}
}

func enrolFault(t *testing.T, code uint32, kind swtpm.Kind) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	s.Fail(swtpm.Fault{Code: code, Kind: kind, RC: swtpm.RCFailure})
	_, err := tpm.Enrol(outside)
	if s.Pending() != 0 {
		t.Fatal("the fault never happened")
	}
	if err != nil {
		if _, akErr := tpm.AK(); !errors.Is(akErr, device.ErrNoAK) {
			t.Errorf("after %v the key is still there: %v", err, akErr)
		}
		enrol(t, tpm)
	}
	must(t, tpm.ExtendHead(x1))
	values(t, tpm, extend([32]byte{}, x1), [32]byte{})
	out, err := s.Tool("tpm2_getcap", "handles-transient")
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("transient objects left: %q, %v", out, err)
	}
}
