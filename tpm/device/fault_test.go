package device_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
)

// hasty is the time-out for tests in which the TPM hangs; a machine that stands still
// for as long sends no command at all.
const hasty = 3 * time.Second

// patience bounds what must come.
const patience = 2 * time.Minute

// hangs tells the kinds that end by time-out.
func hangs(kind swtpm.Kind) bool { return kind == swtpm.Hang || kind == swtpm.ApplyAndHang }

// TestExtendFaults: after every failed extend the values tell whether it
// happened, and the next one works.
func TestExtendFaults(t *testing.T) {
	t.Parallel()
	s, tpm, _ := enrolled(t)
	short := open(t, s, device.Config{Timeout: hasty})
	var head, pcr [32]byte
	x := byte(0)
	for kind := swtpm.Refuse; kind <= swtpm.ApplyAndClose; kind++ {
		for _, target := range []struct {
			code   uint32
			extend func(*device.TPM, [32]byte) error
			value  *[32]byte
		}{{swtpm.NVExtend, (*device.TPM).ExtendHead, &head}, {swtpm.PCRExtend, (*device.TPM).ExtendPCR, &pcr}} {
			x++
			faulty := tpm
			if hangs(kind) {
				faulty = short
			}
			happened := s.Fail(swtpm.Fault{Code: target.code, Kind: kind, RC: swtpm.RCFailure})
			checkFault(t, kind, target.extend(faulty, [32]byte{x}))
			<-happened
			if kind.Applied() {
				*target.value = extend(*target.value, [32]byte{x})
			}
			values(t, tpm, head, pcr)
			must(t, target.extend(tpm, [32]byte{x}))
			*target.value = extend(*target.value, [32]byte{x})
			values(t, tpm, head, pcr)
		}
	}
}

// TestAttestFaults: a failed attestation costs nothing.
func TestAttestFaults(t *testing.T) {
	t.Parallel()
	s, tpm, _ := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	short := open(t, s, device.Config{Timeout: hasty})
	for kind := swtpm.Refuse; kind <= swtpm.ApplyAndClose; kind++ {
		faulty := tpm
		if hangs(kind) {
			faulty = short
		}
		happened := s.Fail(swtpm.Fault{Code: swtpm.NVCertify, Kind: kind, RC: swtpm.RCFailure})
		checkFault(t, kind, second(faulty.CertifyHead(x1)))
		<-happened
		must(t, second(tpm.CertifyHead(x1)))
		happened = s.Fail(swtpm.Fault{Code: swtpm.Quote, Kind: kind, RC: swtpm.RCFailure})
		checkFault(t, kind, second(faulty.QuotePCR(x1)))
		<-happened
		must(t, second(tpm.QuotePCR(x1)))
	}
	values(t, tpm, extend([32]byte{}, x1), [32]byte{})
}

func checkFault(t *testing.T, kind swtpm.Kind, err error) {
	t.Helper()
	var link *device.LinkError
	var command *device.CommandError
	switch kind {
	case swtpm.Refuse, swtpm.ApplyAndRefuse:
		if !errors.As(err, &command) || command.RC != swtpm.RCFailure {
			t.Errorf("kind %d: %v, want a CommandError", kind, err)
		}
	case swtpm.Hang, swtpm.ApplyAndHang:
		if !errors.As(err, &link) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("kind %d: %v, want a passed deadline", kind, err)
		}
	default:
		if !errors.As(err, &link) {
			t.Errorf("kind %d: %v, want a LinkError", kind, err)
		}
	}
}

func TestRetry(t *testing.T) {
	s, tpm, _ := enrolled(t)
	for _, rc := range []uint32{swtpm.RCNVRate, swtpm.RCRetry, 0x908, 0x90a} {
		t.Run(fmt.Sprintf("%#x", rc), func(t *testing.T) {
			before, sent := headOf(t, tpm), tpm.Counts()["NV_Extend"]
			s.Fail(swtpm.Fault{Code: swtpm.NVExtend, Kind: swtpm.Refuse, RC: rc, Times: 3})
			must(t, tpm.ExtendHead(x1))
			if got := headOf(t, tpm); got != extend(before, x1) {
				t.Errorf("HEAD %x after retries, want one extend", got)
			}
			if n := tpm.Counts()["NV_Extend"] - sent; n != 4 {
				t.Errorf("%d commands for three refusals, want 4", n)
			}
		})
	}
}

func headOf(t *testing.T, tpm *device.TPM) [32]byte {
	t.Helper()
	head, err := tpm.Head()
	must(t, err)
	return head
}

// TestRetryEnds: a TPM that says "later" for ever is an error in time.
func TestRetryEnds(t *testing.T) {
	t.Parallel()
	s, healthy, _ := enrolled(t)
	tpm := open(t, s, device.Config{Timeout: 2 * time.Second})
	s.Fail(swtpm.Fault{Code: swtpm.NVExtend, Kind: swtpm.Refuse, RC: swtpm.RCNVRate, Times: -1})
	began := time.Now()
	err := tpm.ExtendHead(x1)
	for errors.Is(err, os.ErrDeadlineExceeded) && time.Since(began) < patience {
		err = tpm.ExtendHead(x1) // a busy machine took the last word's time
	}
	var command *device.CommandError
	if !errors.As(err, &command) || command.RC != swtpm.RCNVRate {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("gave up after %v", took)
	}
	s.Heal()
	must(t, healthy.ExtendHead(x1))
	values(t, healthy, extend([32]byte{}, x1), [32]byte{})
}

// TestContextEndsWaiting: Capable obeys its context while a TPM hangs.
func TestContextEndsWaiting(t *testing.T) {
	t.Parallel()
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	s.Fail(swtpm.Fault{Code: swtpm.GetCapability, Kind: swtpm.Hang})
	ctx, cancel := context.WithTimeout(context.Background(), hasty)
	defer cancel()
	if err := tpm.Capable(ctx); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	must(t, tpm.Capable(context.Background()))
}

// TestGarbage: no response, however malformed, is taken for an answer.
func TestGarbage(t *testing.T) {
	s, tpm, _ := enrolled(t)
	for name, response := range map[string][]byte{
		"empty":          {},
		"short header":   {0x80, 1, 0, 0},
		"size too big":   {0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"size too small": {0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0},
		"truncated":      {0x80, 1, 0, 0, 0, 11, 0, 0, 0, 0},
		"TPM 1.2":        {0, 0xc4, 0, 0, 0, 10, 0, 0, 0, 0x1e},
		"bare success":   {0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0},
	} {
		s.Fail(swtpm.Fault{Code: swtpm.NVCertify, Kind: swtpm.Replace, Response: response})
		var link *device.LinkError
		if _, err := tpm.CertifyHead(x1); !errors.As(err, &link) {
			t.Errorf("%s: %v, want a LinkError", name, err)
		}
	}
}

// TestGone: swtpm ends and nothing hangs.
func TestGone(t *testing.T) {
	s, tpm, _ := enrolled(t)
	must(t, s.Stop())
	var link *device.LinkError
	if err := tpm.ExtendHead(x1); !errors.As(err, &link) {
		t.Errorf("%v", err)
	}
}
