package device

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// TestErrorsSayWhat: each error names the command or object, and the cause
// stays reachable.
func TestErrorsSayWhat(t *testing.T) {
	cause := errors.New("the cause")
	for _, c := range []struct {
		err  error
		says []string
		is   error
	}{
		{&CommandError{Command: "NV_Extend", RC: tpm2.TPMRCNVRate}, []string{"NV_Extend", "0x920", "TPM_RC_NV_RATE"}, tpm2.TPMRCNVRate},
		{&LinkError{Command: "Quote", Err: cause}, []string{"Quote", "the cause"}, cause},
		{&ForeignHeadError{Index: 0x01800100, Public: []byte{0xab}}, []string{"0x01800100", "ab"}, nil},
		{&ForeignAKError{Handle: 0x81010010, Err: cause}, []string{"0x81010010", "the cause"}, cause},
		{explain(tpm2.TPMCCQuote, tpm2.TPMRC(0x18b), ErrNoAK), []string{"attestation key is missing", "Quote"}, ErrNoAK},
		{explain(tpmccNVExtend, tpm2.TPMRC(0x28b), nil, ErrNoHead), []string{"HEAD is missing", "0x28b"}, ErrNoHead},
		{explain(tpm2.TPMCCQuote, tpm2.TPMRC(0x28b), ErrNoAK), []string{"Quote", "0x28b"}, tpm2.TPMRCHandle},
		{explain(tpm2.TPMCCQuote, cause, ErrNoAK), []string{"no usable answer to Quote"}, cause},
		{oneTimeout(os.ErrDeadlineExceeded), []string{"timeout"}, os.ErrDeadlineExceeded},
		{oneTimeout(dialTimeout{}), []string{"dial timeout"}, os.ErrDeadlineExceeded},
	} {
		for _, want := range c.says {
			if !strings.Contains(c.err.Error(), want) {
				t.Errorf("%q does not mention %q", c.err, want)
			}
		}
		if c.is != nil && !errors.Is(c.err, c.is) {
			t.Errorf("%q is not %q", c.err, c.is)
		}
	}
	if errors.Is(explain(tpm2.TPMCCQuote, tpm2.TPMRC(0x28b), ErrNoAK), ErrNoAK) {
		t.Error("a failure of another handle is taken for that of the AK")
	}
	if explain(tpm2.TPMCCQuote, nil, ErrNoAK) != nil {
		t.Error("success explained")
	}
}

// dialTimeout is a time-out as net's dialer makes them.
type dialTimeout struct{}

func (dialTimeout) Error() string { return "dial timeout" }
func (dialTimeout) Timeout() bool { return true }
