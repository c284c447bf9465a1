// Package stopped is what is done with an enrolled board that does not run:
// answering an auditor's challenge, putting its log key back.
//
// The log is locked meanwhile, so a board that runs is not disturbed.
package stopped

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"touchmark/appliance/enrol/logkey"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
)

// LogDir is where the log of a data directory lives.
func LogDir(dir string) string { return filepath.Join(dir, "log") }

// Answer answers an auditor's challenge on a board that does not run: the TPM's
// word on HEAD and PCR over the nonce, the credential's secret if there is one,
// and the newest checkpoint. endorsement is the authorization of the
// endorsement hierarchy, nil for empty; only a credential needs it.
//
// Nothing is judged: a board whose TPM and log do not agree says so by what it
// answers.
func Answer(dir string, tpm *device.TPM, endorsement []byte, c *challenge.Challenge) (_ *challenge.Answer, err error) {
	store, err := ledgerstore.Open(LogDir(dir))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	g, trust, err := Genesis(store)
	if err != nil {
		return nil, err
	}
	if g.Origin != c.Origin {
		return nil, fmt.Errorf("the challenge is for log %s, this is %s", c.Origin, g.Origin)
	}
	a := &challenge.Answer{Origin: g.Origin, Nonce: c.Nonce}
	if a.Checkpoint, err = Checkpoint(dir, store, trust); err != nil {
		return nil, err
	}
	tag := quote.ChallengeTag(c.Nonce)
	if a.Certify, err = tpm.CertifyHead(tag); err != nil {
		return nil, err
	}
	if a.Quote, err = tpm.QuotePCR(tag); err != nil {
		return nil, err
	}
	if c.Credential != nil {
		a.Secret, err = activate(tpm, endorsement, c.Credential)
	}
	return a, err
}

func activate(tpm *device.TPM, endorsement []byte, c *challenge.Credential) ([]byte, error) {
	secret, err := tpm.Activate(c.Blob, c.Secret, endorsement)
	if err == nil && len(secret) != challenge.SecretSize {
		err = fmt.Errorf("the credential holds %d bytes, not %d: it is not one that touchmark-audit made", len(secret), challenge.SecretSize)
	}
	return secret, err
}

// Genesis reads entry 0 of a log, and what it says to be pinned.
func Genesis(store *ledgerstore.Store) (*ledger.Genesis, *anchor.Trust, error) {
	raw, err := store.Entry(0)
	if err != nil {
		return nil, nil, fmt.Errorf("entry 0 of the log: %w", err)
	}
	_, body, err := ledger.Parse(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("entry 0 of the log: %w", err)
	}
	g, ok := body.(*ledger.Genesis)
	if !ok {
		return nil, nil, errors.New("entry 0 of the log is not its genesis")
	}
	return g, anchor.TrustOf(raw, g), nil
}

// Checkpoint signs the newest size of which the log holds the TPM's
// attestation. The log key in use is the one that the board keeps.
func Checkpoint(dir string, store *ledgerstore.Store, trust *anchor.Trust) ([]byte, error) {
	attest, err := newestAttest(store)
	if err != nil {
		return nil, err
	}
	key, err := logkey.Read(dir)
	if err != nil {
		return nil, err
	}
	trust.LogKey = key.Public // another than that of entry 0, if it was replaced
	root, err := store.Root(attest.Size)
	if err != nil {
		return nil, err
	}
	for p, err := range store.PlansBackward() {
		if err != nil {
			return nil, err
		}
		if p.Size == attest.Size {
			return anchor.SignCheckpoint(ledger.CheckpointBody(trust.Origin, p.Size, root), key, *trust, p.Prev, attest.Certify)
		}
	}
	return nil, fmt.Errorf("the log has no commit of size %d", attest.Size)
}

func newestAttest(store *ledgerstore.Store) (*ledger.Attest, error) {
	for raw, err := range store.Backward(store.Size()) {
		if err != nil {
			return nil, err
		}
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return nil, err
		}
		if a, ok := body.(*ledger.Attest); ok {
			return a, nil
		}
	}
	return nil, errors.New("the log holds no attestation: was the enrolment finished?")
}

// RestoreLogKey decrypts a backup with an age identity and puts the log key
// into the data directory, which must have none. If there is a log, the key
// must be of its origin.
func RestoreLogKey(dir, backup string, identity io.Reader) error {
	if err := logkey.Absent(dir); err != nil {
		return err
	}
	k, err := logkey.OpenBackup(backup, identity)
	if err != nil {
		return err
	}
	if err := belongs(dir, k); err != nil {
		return err
	}
	return k.Restore(dir)
}

// belongs refuses the key of another log.
func belongs(dir string, k *logkey.Key) (err error) {
	store, err := ledgerstore.Open(LogDir(dir))
	if errors.Is(err, ledgerstore.ErrNoStore) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var g *ledger.Genesis
	if g, _, err = Genesis(store); err == nil && g.Origin != k.Name() {
		err = fmt.Errorf("the key is for log %s, this is %s", k.Name(), g.Origin)
	}
	return err
}
