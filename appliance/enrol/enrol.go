// Package enrol is the key ceremony: it binds a token, a TPM and a policy into
// a new log.
//
// Order: everything that can be refused is refused first; then the token makes
// its key and, by a touch, its OpenPGP certificate; then the TPM makes its
// attestation key, bound to the token's attestation; HEAD, which can never be
// removed, comes last but one; the genesis entry, with all of it, is the first
// commit. What auditors must pin is written to the trust directory at the end,
// so that a trust file exists only for a log that does.
package enrol

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/operator"
	"touchmark/appliance/piv"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/tpm/anchor"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/quote"
)

// Config is what a ceremony is made of.
type Config struct {
	Dir        string // the board's data directory: log/, log.key
	TrustDir   string // written at the end, for auditors and hosts
	PolicyNote []byte // signed by its administrators
	UserID     string // of the OpenPGP certificate: "Name <mail>"
	Nonce      [32]byte
	Replace    bool   // destroy a key that is in the token's slot
	NewManage  []byte // the token's new management key, kept by the administrators; nil leaves it
	TPM        *device.TPM
	Token      *piv.Token
	Panel      operator.Panel
	Now        time.Time // whole seconds
}

// family is the one key family this version enrols: OpenPGP data signatures.
const family = "openpgp-data"

// Layout of the data directory.
const (
	logDir  = "log"
	keyFile = "log.key"
)

// ErrEnrolled refuses to enrol over a log that exists.
var ErrEnrolled = errors.New("already enrolled")

// LogDir is where the log of a data directory lives.
func LogDir(dir string) string { return filepath.Join(dir, logDir) }

// ReadLogKey loads the log's signing key.
func ReadLogKey(dir string) (note.Signer, error) {
	raw, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("%w: is %s an enrolled data directory?", err, dir)
	}
	defer clear(raw)
	return note.NewSigner(string(bytes.TrimSpace(raw)))
}

// ceremony carries what the steps hand on.
type ceremony struct {
	Config
	policy *policy.Policy
	key    policy.Key
	made   *piv.Enrolled
	pgp    *sigformat.Key
	cert   []byte
	tpm    *device.Enrolment
	log    note.Signer
	secret string // of log
	vkey   string
}

// Run performs the ceremony and answers what is to be pinned.
func Run(ctx context.Context, cfg Config) (*anchor.Trust, error) {
	c := &ceremony{Config: cfg}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"policy", c.readPolicy},
		{"user id", func(context.Context) error { return sigformat.CheckUserID(c.UserID) }},
		{"data directory", c.checkDir},
		{"trust directory", c.checkTrustDir},
		{"TPM", c.checkTPM},
		{"token", c.makeKey},
		{"certificate", c.certify},
		{"log key", c.makeLogKey},
		{"TPM", c.enrolTPM},
	} {
		c.say("enrol", "Enrolling: "+step.what+" ...")
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	trust, err := c.commit()
	if err != nil {
		return nil, errors.Join(err, c.undo())
	}
	c.say("enrolled", "Enrolled. Give the trust directory to hosts and auditors.")
	return trust, WriteTrust(cfg.TrustDir, trust, c.log)
}

// say shows a line to the operator, asking nothing.
func (c *ceremony) say(event, text string) { c.ask(event, operator.AskNothing, text) }

func (c *ceremony) ask(event string, a operator.Ask, text string) {
	v := operator.View{Event: event, Ask: a, Time: c.Now, Message: text, Emulated: c.Token.Info().Emulated, Host: "-", Token: "enrolling"}
	if c.policy != nil {
		v.Origin = c.policy.Origin
	}
	c.Panel.Show(v)
}

func (c *ceremony) readPolicy(context.Context) (err error) {
	if c.policy, err = policy.Open(c.PolicyNote); err != nil {
		return err
	}
	if n := len(c.policy.Keys); n != 1 {
		return fmt.Errorf("it names %d keys; this version enrols exactly one", n)
	}
	c.key = c.policy.Keys[0]
	if c.key.Family != family {
		return fmt.Errorf("key %q is for family %q; this version enrols %q", c.key.Name, c.key.Family, family)
	}
	return nil
}

func (c *ceremony) checkDir(context.Context) error {
	if _, err := os.Stat(LogDir(c.Dir)); err == nil {
		return fmt.Errorf("%w: %s holds a log; use another --dir", ErrEnrolled, c.Dir)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return durable.MkdirAll(c.Dir, 0o700)
}

// checkTrustDir refuses early what would otherwise fail last, when HEAD is
// taken and what must be pinned could not be written any more.
func (c *ceremony) checkTrustDir(context.Context) error {
	if err := durable.MkdirAll(c.TrustDir, 0o755); err != nil {
		return err
	}
	probe := filepath.Join(c.TrustDir, ".probe")
	if err := durable.WriteFile(probe, nil, 0o644); err != nil {
		return err
	}
	return os.Remove(probe)
}

// checkTPM refuses a TPM that cannot serve before the token makes a key.
func (c *ceremony) checkTPM(ctx context.Context) error {
	if err := c.TPM.Capable(ctx); err != nil {
		return err
	}
	if head, err := c.TPM.Head(); err == nil && head != [32]byte{} {
		return device.ErrHeadExists
	}
	pcr, err := c.TPM.PCR()
	if err != nil {
		return err
	}
	if pcr != [32]byte{} {
		return fmt.Errorf("PCR %d has been extended since the TPM was reset: restart the board and enrol before anything else uses it", c.TPM.Config().PCR)
	}
	return nil
}

// makeKey generates the signing key in the token and unlocks it.
func (c *ceremony) makeKey(ctx context.Context) (err error) {
	spec := piv.KeySpec{Slot: c.key.Slot, Algorithm: c.key.Algorithm}
	c.made, err = c.Token.Enrol(piv.EnrolConfig{Key: spec, Replace: c.Replace, NewManagementKey: c.NewManage})
	if errors.Is(err, piv.ErrSlotInUse) {
		return fmt.Errorf("%w: --replace-key destroys it", err)
	}
	if err != nil {
		return err
	}
	return c.unlock(ctx)
}

// unlock asks for the PIN until it is right, refused for good, or the operator
// leaves.
func (c *ceremony) unlock(ctx context.Context) error {
	event, text := "pin-needed", "Type the token's PIN."
	for {
		c.ask(event, operator.AskPIN, text)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case cmd, ok := <-c.Panel.Commands():
			if !ok || cmd.Verb == operator.Quit {
				return errors.New("the operator left")
			}
			if cmd.Verb != operator.PIN {
				continue
			}
			err := c.Token.VerifyPIN(cmd.PIN)
			clear(cmd.PIN)
			if err == nil {
				return nil
			}
			if errors.Is(err, piv.ErrLastTry) {
				return err
			}
			event, text = "pin-wrong", err.Error()
		}
	}
}

// certify makes the OpenPGP certificate. The key's creation time is part of
// its fingerprint, so it is fixed here once and for all.
func (c *ceremony) certify(context.Context) (err error) {
	if c.pgp, err = sigformat.NewKey(c.made.Public, c.Now); err != nil {
		return err
	}
	c.ask("touch", operator.AskTouch, "Touch the token: it signs its own certificate, for "+c.UserID+".")
	c.cert, err = sigformat.Certificate(c.pgp, c.UserID, func(digest []byte, h crypto.Hash) ([]byte, error) {
		return c.Token.Sign(c.key.Slot, c.made.Public, digest, h)
	})
	return err
}

func (c *ceremony) makeLogKey(context.Context) (err error) {
	if c.secret, c.vkey, err = note.GenerateKey(rand.Reader, c.policy.Origin); err != nil {
		return err
	}
	if c.log, err = note.NewSigner(c.secret); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(c.Dir, keyFile), []byte(c.secret+"\n"), 0o600)
}

func (c *ceremony) attestation() ledger.TokenAttestation {
	return ledger.TokenAttestation{Slot: c.made.Attestation, Intermediate: c.made.Intermediate}
}

func (c *ceremony) enrolTPM(context.Context) (err error) {
	c.tpm, err = c.TPM.Enrol(ledger.OutsideInfo(c.policy.Origin, c.attestation(), c.Nonce))
	return err
}

func (c *ceremony) genesis() (*ledger.Genesis, error) {
	spki, err := x509.MarshalPKIXPublicKey(c.made.Public)
	if err != nil {
		return nil, err
	}
	info := c.Token.Info()
	cfg := c.TPM.Config()
	return &ledger.Genesis{
		Origin: c.policy.Origin, LogKey: c.vkey, AK: c.tpm.AK, Creation: c.tpm.Creation,
		Head: cfg.Head, HeadName: quote.HeadName(cfg.Head), PCR: cfg.PCR,
		Token: ledger.TokenInfo{Serial: info.Serial, Firmware: info.Firmware, Emulated: c.made.Facts.Emulated},
		Key: ledger.TokenKey{
			Name: c.key.Name, Slot: c.key.Slot, Family: c.key.Family, Algorithm: c.key.Algorithm,
			Fingerprint: c.pgp.Fingerprint(), SPKI: spki,
		},
		Attestation: c.attestation(), Nonce: c.Nonce, Cert: c.cert, Policy: c.PolicyNote,
	}, nil
}

// commit writes the genesis entry, has the TPM take it, and attests that.
func (c *ceremony) commit() (*anchor.Trust, error) {
	g, err := c.genesis()
	if err != nil {
		return nil, err
	}
	raw, err := ledger.Marshal(ledger.Header{Time: c.Now}, g)
	if err != nil {
		return nil, err
	}
	store, err := ledgerstore.Create(LogDir(c.Dir))
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }()
	x := ledger.X(ledger.CheckpointBody(g.Origin, 1, ledger.LeafHash(raw)))
	if err := store.Append([][]byte{raw}, &anchor.Plan{Size: 1, X: x}); err != nil {
		return nil, err
	}
	if err := extend(c.TPM, x); err != nil {
		return nil, fmt.Errorf("committing the genesis entry: %w", err)
	}
	attest, err := c.attest(g, x)
	if err != nil {
		return nil, fmt.Errorf("attesting the genesis entry: %w", err)
	}
	if raw2, err := ledger.Marshal(ledger.Header{Index: 1, Time: c.Now}, attest); err != nil {
		return nil, err
	} else if err := store.Append([][]byte{raw2}, nil); err != nil {
		return nil, err
	}
	trust := anchor.TrustOf(raw, g)
	trust.Quorum, trust.Administrators = c.policy.Administrators.Quorum, c.policy.Administrators.Texts
	return trust, nil
}

// extender is the part of the TPM that takes the first commit.
type extender interface {
	Head() ([32]byte, error)
	ExtendHead(x [32]byte) error
	ExtendPCR(x [32]byte) error
}

// extend has HEAD and then the PCR take the first commit. An extension that
// was carried out but reported as failed must not cost the TPM its only log,
// and a PCR must not be ahead of HEAD, or enrolment could not be tried again.
func extend(t extender, x [32]byte) error {
	if err := t.ExtendHead(x); err != nil {
		head, readErr := t.Head()
		if readErr != nil || head != anchor.Extend([32]byte{}, x) {
			return errors.Join(err, readErr)
		}
	}
	return t.ExtendPCR(x)
}

// undo takes a log back that HEAD never took, so that enrolment can be tried
// again. Once HEAD has the genesis entry, the log is there to stay.
func (c *ceremony) undo() error {
	if err := c.TPM.Abandon(); err != nil {
		return fmt.Errorf("the log in %s is kept: %w", LogDir(c.Dir), err)
	}
	return os.RemoveAll(LogDir(c.Dir))
}

// attest makes the first commit's attestations and checks both before anyone
// relies on them.
func (c *ceremony) attest(g *ledger.Genesis, x [32]byte) (*ledger.Attest, error) {
	ak, err := quote.ParseAK(g.AK)
	if err != nil {
		return nil, err
	}
	certify, err := c.TPM.CertifyHead(quote.CertifyTag(x))
	if err != nil {
		return nil, err
	}
	want := anchor.Extend([32]byte{}, x)
	facts, err := ak.VerifyNV(certify, g.HeadName, quote.CertifyTag(x))
	if err == nil && facts.Contents != want {
		err = errors.New("HEAD does not hold what was extended")
	}
	if err != nil {
		return nil, err
	}
	q, err := c.TPM.QuotePCR(quote.QuoteTag(x))
	if err != nil {
		return nil, err
	}
	pcr, err := ak.VerifyQuote(q, g.PCR, quote.QuoteTag(x))
	if err == nil && pcr.PCRDigest != quote.PCRDigest(want) {
		err = fmt.Errorf("PCR %d does not hold what was extended", g.PCR)
	}
	return &ledger.Attest{Size: 1, Certify: certify, Quote: q}, err
}

// WriteTrust writes the trust directory: trust, which is what auditors and
// hosts read, signed, and copies of parts of it in the formats of common tools.
func WriteTrust(dir string, t *anchor.Trust, by ...note.Signer) error {
	signed, err := t.Sign(by...)
	if err != nil {
		return err
	}
	ak, err := quote.ParseAK(t.AK)
	if err != nil {
		return err
	}
	spki, err := x509.MarshalPKIXPublicKey(ak.Public())
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := []struct {
		name string
		data []byte
	}{
		{"cert.asc", sigformat.Armor(t.Cert)},
		{"log.vkey", []byte(t.LogKey + "\n")},
		{"ak.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})},
		{"trust", signed},
	}
	for _, f := range files {
		if err := durable.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
