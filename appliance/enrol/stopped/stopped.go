// Package stopped is what is done with an enrolled board that does not run:
// answering an auditor's challenge, making the log key that is to come, putting
// a log key back.
//
// Whoever reads the log locks it, so a board that runs is not disturbed.
package stopped

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/past"
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
// answers. Only a commit that a crash cut short is chain.ErrUnsettled.
func Answer(dir string, tpm *device.TPM, endorsement []byte, c *challenge.Challenge) (_ *challenge.Answer, err error) {
	store, err := ledgerstore.Open(LogDir(dir))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p, err := load(store)
	if err != nil {
		return nil, err
	}
	if p.Trust.Origin != c.Origin {
		return nil, fmt.Errorf("the challenge is for log %s, this is %s", c.Origin, p.Trust.Origin)
	}
	a := &challenge.Answer{Origin: c.Origin, Nonce: c.Nonce}
	if a.Checkpoint, err = Checkpoint(dir, store, p); err != nil {
		return nil, err
	}
	tag := quote.ChallengeTag(c.Nonce)
	if a.Certify, err = tpm.CertifyHead(tag); err != nil {
		return nil, err
	}
	if facts, err := p.AK.VerifyNV(a.Certify, p.Trust.HeadName, tag); err == nil { // else the auditor judges it
		if err := chain.Settled(store, p.Attest, facts.Contents); err != nil {
			return nil, err
		}
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

// load reads what the log says.
func load(store *ledgerstore.Store) (*past.Past, error) {
	p := past.New(past.Config{Store: store, Log: zerolog.Nop()})
	return p, p.Load(time.Now())
}

// Checkpoint signs the newest size of which the log holds the TPM's
// attestation, with the log key that was in force at it.
func Checkpoint(dir string, store *ledgerstore.Store, p *past.Past) ([]byte, error) {
	if p.Attest == nil {
		return nil, errors.New("the log holds no attestation: was the enrolment finished?")
	}
	key, err := logkey.Ring{Dir: dir}.Find(p.LogKey)
	if err != nil {
		return nil, err
	}
	root, err := store.Root(p.Attest.Size)
	if err != nil {
		return nil, err
	}
	for plan, err := range store.PlansBackward() {
		if err != nil {
			return nil, err
		}
		if plan.Size == p.Attest.Size {
			note, _, err := anchor.SignCheckpoint(ledger.CheckpointBody(p.Trust.Origin, plan.Size, root), key, p.InForce(), plan.Prev, p.Attest.Certify)
			return note, err
		}
	}
	return nil, fmt.Errorf("the log has no commit of size %d", p.Attest.Size)
}

// RestoreLogKey decrypts a backup with an age identity and puts the log key
// into the data directory, beside one that is there. If there is a log, the key
// must be of its origin.
func RestoreLogKey(dir, backup string, identity io.Reader) error {
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
func belongs(dir string, k *logkey.Key) error {
	log, err := Log(dir)
	if errors.Is(err, ledgerstore.ErrNoStore) {
		return nil
	}
	if err == nil && log.Origin != k.Name() {
		err = fmt.Errorf("the key is for log %s, this is %s", k.Name(), log.Origin)
	}
	return err
}

// Log names the log of a data directory.
func Log(dir string) (_ ledger.LogID, err error) {
	store, err := ledgerstore.Open(LogDir(dir))
	if err != nil {
		return ledger.LogID{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if store.Size() == 0 { // it was lost, and is to come back from a mirror
		return ledger.LogID{}, fmt.Errorf("%w: it has no entries", ledgerstore.ErrNoStore)
	}
	raw, err := store.Entry(0)
	if err != nil {
		return ledger.LogID{}, fmt.Errorf("entry 0 of the log: %w", err)
	}
	_, body, err := ledger.Parse(raw)
	if g, ok := body.(*ledger.Genesis); ok && err == nil {
		return ledger.LogID{Origin: g.Origin, Genesis: ledger.LeafHash(raw)}, nil
	}
	return ledger.LogID{}, fmt.Errorf("entry 0 of the log is not its genesis (%v)", err)
}
