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

func TestMakeTwice(t *testing.T) {
	_, tpm, ak := enrolled(t)
	if got, err := tpm.AK(); err != nil || !bytes.Equal(got.Marshal(), ak.Marshal()) {
		t.Errorf("AK read back: %v", err)
	}
	if _, err := tpm.MakeAK(outside); !errors.Is(err, device.ErrAKExists) {
		t.Errorf("a second AK: %v", err)
	}
	must(t, tpm.ExtendHead(x1))
	must(t, tpm.MakeHead())
	values(t, tpm, extend([32]byte{}, x1), [32]byte{})
	must(t, tpm.RemoveAK())
	must(t, tpm.RemoveAK())
	if _, err := tpm.CertifyHead(x1); !errors.Is(err, device.ErrNoAK) {
		t.Errorf("CertifyHead without AK: %v", err)
	}
	if _, err := tpm.QuotePCR(x1); !errors.Is(err, device.ErrNoAK) {
		t.Errorf("QuotePCR without AK: %v", err)
	}
	if again := enrol(t, tpm); bytes.Equal(again.Name(), ak.Name()) {
		t.Error("the same attestation key was made twice")
	}
}

func TestEnrolRefusesForeignObjects(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	if _, err := s.Tool("tpm2_nvdefine", "0x01800100", "-C", "o", "-s", "32", "-a", "ownerread|ownerwrite|authread|authwrite"); err != nil {
		t.Fatal(err)
	}
	var foreign *device.ForeignHeadError
	if err := tpm.MakeHead(); !errors.As(err, &foreign) || foreign.Index != 0x01800100 {
		t.Errorf("MakeHead: %v", err)
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
	if _, err := tpm.MakeAK(outside); !errors.Is(err, device.ErrAKExists) {
		t.Errorf("MakeAK over a foreign key: %v", err)
	}
	var foreignAK *device.ForeignAKError
	if err := tpm.RemoveAK(); !errors.As(err, &foreignAK) {
		t.Errorf("RemoveAK of a foreign key: %v", err)
	}
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
	if err := tpm.MakeHead(); !errors.Is(err, device.ErrPlatformLocked) {
		t.Errorf("MakeHead: %v", err)
	}
	must(t, s.PowerCycle()) // the platform authorization lasts until the next
	enrol(t, tpm)
}

func TestEnrolRefusesLongOutside(t *testing.T) {
	tpm := open(t, swtpm.Start(t), device.Config{})
	if _, err := tpm.MakeAK(make([]byte, quote.MaxOutside+1)); err == nil {
		t.Error("accepted")
	}
	if n := len(tpm.Counts()); n != 0 {
		t.Errorf("%d commands sent for it", n)
	}
}

// TestEnrolFaults makes every command of making AK and HEAD fail, applied and
// not: each time either it works all the same or the next try succeeds. No
// transient object stays.
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
	_, err := tpm.MakeAK(outside)
	if err == nil {
		err = tpm.MakeHead()
	}
	if s.Pending() != 0 {
		t.Fatal("the fault never happened")
	}
	if err != nil {
		must(t, tpm.RemoveAK())
		enrol(t, tpm)
	}
	must(t, tpm.ExtendHead(x1))
	values(t, tpm, extend([32]byte{}, x1), [32]byte{})
	noTransients(t, s)
}

func noTransients(t *testing.T, s *swtpm.Server) {
	t.Helper()
	for _, kind := range []string{"handles-transient", "handles-loaded-session"} {
		out, err := s.Tool("tpm2_getcap", kind)
		if err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("%s left: %q, %v", kind, out, err)
		}
	}
}
