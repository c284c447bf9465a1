package piv

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-piv/piv-go/v2/piv"

	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv/attest"
)

// Options says which token to open.
type Options struct {
	Reader string        // part of the reader's name; "": any reader
	Serial uint32        // the token's serial number; 0: any
	Roots  *attest.Roots // who makes genuine tokens; nil: Yubico
}

// Info describes an open token.
type Info struct {
	Serial   uint32
	Firmware string // "5.7.1"
	Reader   string
	// Emulated: the token's attestation certificate is not from Options.Roots.
	// The reverse is no proof: that is a key's attestation.
	Emulated bool
}

// Token is one insertion of one token, opened exclusively. Its methods may be
// called from several goroutines; one card command runs at a time.
type Token struct {
	info  Info // immutable
	roots *attest.Roots

	mu       sync.Mutex // guards what follows; held during card commands
	yk       *piv.YubiKey
	gone     bool // removed or closed: the card is not spoken to again
	verified bool // PIN
}

// Open opens the one token that fits o. It fails with ErrNoToken if there is
// none, ErrBusy if all that could fit are in use, and plainly if several fit.
func Open(o Options) (*Token, error) {
	names, err := readers(o.Reader)
	if err != nil {
		return nil, err
	}
	var found *Token
	var failed []error
	for _, name := range names {
		t, err := open(name, o)
		switch {
		case err != nil:
			failed = append(failed, err)
		case found != nil:
			err := fmt.Errorf("several tokens (serial numbers %d and %d): name one by serial number or reader", found.info.Serial, t.info.Serial)
			return nil, errors.Join(err, found.Close(), t.Close())
		default:
			found = t
		}
	}
	if found == nil {
		return nil, worst(failed)
	}
	return found, nil
}

// readers lists the readers to try.
func readers(part string) ([]string, error) {
	if !pcsc.HasReader() {
		return nil, fmt.Errorf("%w: %s", ErrNoToken, noReader[pcsc.Mode])
	}
	all, err := piv.Cards()
	if code, ok := pcsc.Code(err); ok && (code == pcsc.ErrNoService || code == pcsc.ErrServiceStopped) {
		return nil, fmt.Errorf("%w: pcscd is not running (%w)", ErrNoToken, err)
	}
	if err != nil {
		return nil, classify("listing readers", err)
	}
	var fit []string
	for _, name := range all {
		if strings.Contains(name, part) {
			fit = append(fit, name)
		}
	}
	if len(fit) > maxCandidates {
		return nil, fmt.Errorf("%d readers fit: name one", len(fit))
	}
	return fit, nil
}

// noReader says, by build, what to do when there is no reader to look into.
var noReader = map[string]string{
	"in-process":          "no token on USB (is it plugged in, and is there a /dev/bus/usb?)",
	"in-process+emulated": "no emulated token was named",
}

// worst picks the error that tells most about why no token could be opened.
func worst(failed []error) error {
	for _, err := range failed {
		if !errors.Is(err, ErrNoToken) {
			return err
		}
	}
	if len(failed) > 0 {
		return failed[0]
	}
	return fmt.Errorf("%w: no reader (is the token plugged in?)", ErrNoToken)
}

func open(reader string, o Options) (*Token, error) {
	var yk *piv.YubiKey
	err := pcsc.Sweep(func() (err error) {
		yk, err = piv.Open(reader)
		return err
	})
	if err != nil {
		return nil, openError(reader, err)
	}
	t := &Token{yk: yk, roots: o.Roots, info: Info{Reader: reader, Emulated: true}}
	if err := t.identify(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if o.Serial != 0 && o.Serial != t.info.Serial {
		err := fmt.Errorf("%w: the token in %q has serial number %d, not %d", ErrNoToken, reader, t.info.Serial, o.Serial)
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func openError(reader string, err error) error {
	code, _ := pcsc.Code(err)
	switch {
	case code == pcsc.ErrSharingViolation:
		return fmt.Errorf("%w: %q", ErrBusy, reader)
	case removal[code]:
		return fmt.Errorf("%w: %q is empty (%w)", ErrNoToken, reader, err)
	case silence[code]:
		return fmt.Errorf("%w: the card in %q does not answer (%w)", ErrNoToken, reader, err)
	case statusOf(err) != 0:
		return fmt.Errorf("%w: %q holds a card without PIV application (%w)", ErrNoToken, reader, err)
	}
	return classify("opening "+reader, err)
}

func (t *Token) identify() error {
	v := t.yk.Version()
	t.info.Firmware = fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	serial, err := t.yk.Serial()
	if err != nil {
		return classify("reading the serial number", err)
	}
	t.info.Serial = serial
	cert, err := t.yk.AttestationCertificate()
	if err == nil {
		t.info.Emulated = !attest.Genuine(cert.Raw, t.roots)
	}
	if _, ok := pcsc.Code(err); ok {
		return classify("reading the attestation certificate", err)
	}
	return nil // without a readable certificate it is not genuine
}

// Info describes the token, as it was when opened.
func (t *Token) Info() Info { return t.info }

// Close ends the connection and powers the token off: the PIN must be verified
// again. It waits for a running command, a touch included. Closing twice, or
// after a removal, is fine.
func (t *Token) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.yk == nil {
		return nil
	}
	err := t.yk.Close()
	gone := t.gone
	t.yk, t.gone, t.verified = nil, true, false
	if gone {
		return nil // the handle of a removed card may end in an error
	}
	return classify("closing", err)
}

// Present reports whether the token is still there, by a cheap command. During
// another command it is true: that command will find out.
func (t *Token) Present() bool {
	if !t.mu.TryLock() {
		return true
	}
	defer t.mu.Unlock()
	return !t.gone && t.ping()
}

// ping asks for the serial number, which needs no state and changes none.
func (t *Token) ping() bool {
	_, err := t.yk.Serial()
	if err == nil || statusOf(err) != 0 {
		return true
	}
	t.lost()
	return false
}

func (t *Token) lost() { t.gone, t.verified = true, false }

// do runs a card command with the lock held and types its error. No status word
// may mean a removal noticed late (through pcscd it can look like an empty
// answer): then the token is asked once more.
func (t *Token) do(op string, command func() error) error {
	if t.gone {
		return fmt.Errorf("%s: %w", op, ErrRemoved)
	}
	err := classify(op, command())
	var te *TokenError
	switch {
	case errors.Is(err, ErrRemoved):
		t.lost()
	case !errors.As(err, &te) || te.Status != 0:
	case te.Code == pcsc.ErrTimeout:
		t.lost() // the connection is unusable, though the token may be there
	case !t.ping():
		return fmt.Errorf("%s: %w (%w)", op, ErrRemoved, te.Err)
	}
	return err
}
