package swtpm_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
)

func TestPowerCycleKeepsServing(t *testing.T) {
	s := swtpm.Start(t)
	tpm, err := device.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	if err := tpm.ExtendPCR([32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if v, err := tpm.PCR(); err != nil || v == [32]byte{} {
		t.Fatalf("PCR after extend: %x, %v", v, err)
	}
	if err := s.PowerCycle(); err != nil {
		t.Fatal(err)
	}
	if v, err := tpm.PCR(); err != nil || v != [32]byte{} {
		t.Fatalf("PCR after power cycle: %x, %v", v, err)
	}
	if out, err := s.Tool("tpm2_pcrread", "sha256:14"); err != nil || !strings.Contains(out, "14") {
		t.Errorf("tpm2_pcrread: %q, %v", out, err)
	}
}

// TestRestore: what HEAD would never do, a state that is put back does.
func TestRestore(t *testing.T) {
	s := swtpm.Start(t)
	tpm, err := device.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	flash, err := s.Flash()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tool("tpm2_nvdefine", "0x1800200", "-s", "8"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Restore(flash); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Tool("tpm2_nvreadpublic"); err != nil || strings.Contains(out, "0x1800200") {
			t.Errorf("it is there still: %v, %s", err, out)
		}
		if _, err := tpm.PCR(); err != nil {
			t.Error(err)
		}
	}
}

// TestIntercept: whoever intercepts sees each command and decides about it.
func TestIntercept(t *testing.T) {
	s := swtpm.Start(t)
	tpm, err := device.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	seen := 0
	s.Intercept(func(code uint32) *swtpm.Fault {
		if seen++; code == swtpm.PCRExtend {
			return &swtpm.Fault{Kind: swtpm.ApplyAndRefuse, RC: swtpm.RCFailure}
		}
		return nil
	})
	if err := tpm.ExtendPCR([32]byte{1}); err == nil {
		t.Error("an intercepted command succeeded")
	}
	if v, err := tpm.PCR(); err != nil || v == [32]byte{} || seen != 2 {
		t.Errorf("PCR %x, %v; %d commands seen", v, err, seen)
	}
	s.Intercept(nil)
	if err := tpm.ExtendPCR([32]byte{1}); err != nil || seen != 2 {
		t.Errorf("%v; %d commands seen", err, seen)
	}
}

// TestStartDir also puts the state too deep for unix sockets.
func TestStartDir(t *testing.T) {
	for _, dir := range []string{"state", strings.Repeat("deep/", 25)} {
		dir = filepath.Join(t.TempDir(), dir)
		for range 2 { // the second time on the state of the first
			s, err := swtpm.StartDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := swtpm.StartDir(dir); len(dir) < 80 && err == nil {
				t.Error("a second one on the same state")
			}
			if s.Pid() <= 1 {
				t.Errorf("pid %d", s.Pid())
			}
			tpm, err := device.Open(s.Spec())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tpm.PCR(); err != nil {
				t.Error(err)
			}
			tpm.Close()
			if err := errors.Join(s.Stop(), s.Stop()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(strings.TrimPrefix(s.Spec(), "swtpm:")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("socket left behind: %v", err)
			}
		}
	}
}

func TestStartDirSaysWhatIsWrong(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := swtpm.StartDir(t.TempDir()); err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("without swtpm: %v", err)
	}
}
