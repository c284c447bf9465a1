package genesis

import (
	"errors"
	"testing"

	"touchmark/tpm/anchor"
)

var errTPM = errors.New("TPM_RC_FAILURE")

// faultyTPM fails NV_Extend before or after it takes effect.
type faultyTPM struct {
	head, pcr [32]byte
	fault     string
}

func (f *faultyTPM) Head() ([32]byte, error) { return f.head, nil }
func (f *faultyTPM) PCR() ([32]byte, error)  { return f.pcr, nil }

func (f *faultyTPM) ExtendHead(x [32]byte) error {
	if f.fault != "before" {
		f.head = anchor.Extend(f.head, x)
	}
	if f.fault != "" {
		return errTPM
	}
	return nil
}

func (f *faultyTPM) ExtendPCR(x [32]byte) error { f.pcr = anchor.Extend(f.pcr, x); return nil }

func TestFirstCommit(t *testing.T) {
	x := [32]byte{1}
	for fault, want := range map[string]error{"": nil, "before": errTPM, "after": nil} {
		f := &faultyTPM{fault: fault}
		if err := extend(f, [32]byte{}, x); !errors.Is(err, want) {
			t.Errorf("fault %q: %v, want %v", fault, err, want)
		}
		f.fault = ""
		if err := extend(f, [32]byte{}, x); err != nil || f.head != anchor.Extend([32]byte{}, x) || f.pcr != f.head {
			t.Errorf("fault %q, tried again: HEAD %x, PCR %x, %v", fault, f.head, f.pcr, err)
		}
	}
}
