package device

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"
)

// replay answers command after command with what stands in a transcript, one
// response after the other as they came from a TPM.
type replay struct{ io.Reader }

func (r replay) exchange([]byte, time.Time) ([]byte, error) { return readResponse(r) }
func (r replay) close() error                               { return nil }

// methods are all that send commands.
var methods = []func(*TPM) error{
	func(t *TPM) error { _, err := t.Head(); return err },
	func(t *TPM) error { _, err := t.PCR(); return err },
	func(t *TPM) error { _, err := t.AK(); return err },
	func(t *TPM) error { return t.ExtendHead([32]byte{}) },
	func(t *TPM) error { return t.ExtendPCR([32]byte{}) },
	func(t *TPM) error { _, err := t.CertifyHead([32]byte{}); return err },
	func(t *TPM) error { _, err := t.QuotePCR([32]byte{}); return err },
	func(t *TPM) error { _, err := t.MakeAK(nil); return errors.Join(err, t.MakeHead()) },
	func(t *TPM) error { _, err := t.EK(nil); return err },
	func(t *TPM) error { _, err := t.Activate([]byte{1}, []byte{2}, nil); return err },
	func(t *TPM) error { _, err := t.Maker(); return err },
	func(t *TPM) error { return t.SetAuth(Lockout, make([]byte, AuthSize)) },
	func(t *TPM) error {
		var list []error
		for _, check := range []func() error{t.checkCurve, t.checkBank, t.flushTransient} {
			list = append(list, check())
		}
		return errors.Join(list...)
	},
}

// FuzzResponses feeds every method with the responses of a hostile TPM. The
// seeds are what swtpm answered to each. A method returns, with
// whatever error, and does not panic.
func FuzzResponses(f *testing.F) {
	f.Fuzz(func(t *testing.T, method uint8, transcript []byte) {
		cfg, err := Config{}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		tpm := &TPM{cfg: cfg, wire: newWire(replay{bytes.NewReader(transcript)}, time.Nanosecond)}
		_ = methods[int(method)%len(methods)](tpm)
	})
}
