package device_test

import (
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

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

// However an answer is lost, and wherever the TPM is reset once more: tried again, the platform ends up locked.
func TestLockPlatformFaults(t *testing.T) {
	t.Parallel()
	s := swtpm.Start(t)
	tpm, short := open(t, s, device.Config{}), open(t, s, device.Config{Timeout: hasty})
	for kind := swtpm.Refuse; kind <= swtpm.ResetFirst; kind++ {
		must(t, s.PowerCycle())
		faulty := tpm
		if hangs(kind) {
			faulty = short
		}
		happened := s.Fail(swtpm.Fault{Code: swtpm.HierarchyChangeAuth, Kind: kind, RC: swtpm.RCFailure})
		err := faulty.LockPlatform()
		<-happened
		if (err == nil) != (kind == swtpm.ResetFirst) || errors.Is(err, device.ErrPlatformLocked) {
			t.Errorf("kind %d: %v", kind, err)
		}
		err = tpm.LockPlatform()
		if errors.Is(err, device.ErrPlatformLocked) != kind.Applied() || err != nil && !kind.Applied() {
			t.Errorf("kind %d, tried again: %v", kind, err)
		}
		if err := s.PlatformLocked(); err != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

// Another authorization than an empty one outlasts what is no reset, and no reset that is told by its clock.
func TestPlatformAuthOverResets(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	must(t, tpm.LockPlatform())
	must(t, s.Cycle(swtpm.Resume))
	if err := tpm.LockPlatform(); !errors.Is(err, device.ErrPlatformLocked) {
		t.Errorf("after a sleep: %v", err)
	}
	for name, reset := range map[string]func() error{
		"reset": func() error { return s.Cycle(swtpm.Reset) }, "restart": func() error { return s.Cycle(swtpm.Restart) }, "power cut": s.PowerCycle,
	} {
		must(t, reset())
		s.Record()
		if err := tpm.LockPlatform(); err != nil {
			t.Errorf("after a %s: %v", name, err)
		}
		if got := s.Recorded(); len(got) != 1 || got[0] != (swtpm.Recorded{Code: swtpm.HierarchyChangeAuth}) {
			t.Errorf("after a %s: %v", name, got)
		}
	}
	must(t, s.PlatformLocked())
	must(t, s.Reset())
	var command *device.CommandError
	if err := tpm.LockPlatform(); !errors.As(err, &command) || !errors.Is(err, tpm2.TPMRCInitialize) {
		t.Errorf("a TPM that nobody started: %v", err)
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
