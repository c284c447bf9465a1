package device_test

import (
	"errors"
	"testing"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
)

// The platform's authorization is nobody's until the next reset: neither this process
// nor another one uses it, a second start that met no reset is told so, and after a reset it
// is empty again.
func TestLockPlatform(t *testing.T) {
	s := swtpm.Start(t)
	open := func() *device.TPM {
		t.Helper()
		tpm, err := device.Open(s.Spec())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tpm.Close() })
		return tpm
	}
	if err := open().LockPlatform(); err != nil {
		t.Fatal(err)
	}
	if err := open().MakeHead(); !errors.Is(err, device.ErrPlatformLocked) {
		t.Errorf("HEAD: %v", err)
	}
	if _, err := s.Tool("tpm2_clear", "-c", "p"); err == nil {
		t.Error("the platform still clears the TPM")
	}
	if err := open().LockPlatform(); !errors.Is(err, device.ErrPlatformLocked) {
		t.Errorf("a second time: %v", err)
	}
	if err := s.PowerCycle(); err != nil {
		t.Fatal(err)
	}
	tpm := open()
	if err := tpm.MakeHead(); err != nil {
		t.Errorf("after a reset: %v", err)
	}
	if err := tpm.LockPlatform(); err != nil {
		t.Error(err)
	}
}

// A TPM that fails is no locked one.
func TestLockPlatformFails(t *testing.T) {
	s := swtpm.Start(t)
	s.Fail(swtpm.Fault{Code: 0x129, Nth: 1, Kind: swtpm.Refuse, RC: swtpm.RCFailure})
	tpm, err := device.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tpm.Close() })
	if err := tpm.LockPlatform(); err == nil || errors.Is(err, device.ErrPlatformLocked) {
		t.Errorf("%v", err)
	}
}
