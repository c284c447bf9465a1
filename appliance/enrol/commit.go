package enrol

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/quote"
)

// genesis is the same each time: all of it is written down by now.
func (c *ceremony) genesis() (*ledger.Genesis, error) {
	spki, err := x509.MarshalPKIXPublicKey(c.made.Public)
	if err != nil {
		return nil, err
	}
	info, cfg := c.Token.Info(), c.TPM.Config()
	return &ledger.Genesis{
		Origin: c.policy.Origin, Predecessor: c.state.predecessor, LogKey: c.log.public,
		AK: c.state.ak, Creation: c.state.creation, EK: c.state.ek,
		Head: cfg.Head, HeadName: quote.HeadName(cfg.Head), Base: c.state.base, PCR: cfg.PCR,
		Token: ledger.TokenInfo{Serial: info.Serial, Firmware: info.Firmware, Emulated: c.made.Facts.Emulated},
		Key: ledger.TokenKey{
			Name: c.key.Name, Slot: c.key.Slot, Family: c.key.Family, Algorithm: c.key.Algorithm,
			Fingerprint: c.pgp.Fingerprint(), SPKI: spki,
		},
		Attestation: c.state.attestation, Nonce: c.Nonce, Cert: c.state.cert, Policy: c.PolicyNote,
	}, nil
}

// commit writes the genesis entry, has the TPM take it, and attests that. Each
// of these is done only if it was not done before.
func (c *ceremony) commit(context.Context) (err error) {
	g, err := c.genesis()
	if err != nil {
		return err
	}
	raw, err := ledger.Marshal(ledger.Header{Time: c.Now}, g)
	if err != nil {
		return err
	}
	store, err := openLog(LogDir(c.Dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	x := ledger.X(ledger.CheckpointBody(g.Origin, 1, ledger.LeafHash(raw)))
	if err := begin(store, raw, &anchor.Plan{Size: 1, Prev: g.Base, X: x}); err != nil {
		return err
	}
	if err := extend(c.TPM, g.Base, x); err != nil {
		return fmt.Errorf("committing the genesis entry: %w", err)
	}
	if store.Size() == 1 {
		if err := c.attest(store, g, x); err != nil {
			return fmt.Errorf("attesting the genesis entry: %w", err)
		}
	}
	c.trust = anchor.TrustOf(raw, g)
	c.trust.Quorum, c.trust.Administrators = c.policy.Administrators.Quorum, c.policy.Administrators.Texts
	c.words.once("genesis     leaf hash %x", c.trust.Genesis)
	return nil
}

// openLog opens the log that this ceremony began, or begins it.
func openLog(dir string) (*ledgerstore.Store, error) {
	store, err := ledgerstore.Create(dir)
	if errors.Is(err, ledgerstore.ErrExists) {
		return ledgerstore.Open(dir)
	}
	return store, err
}

// begin writes entry 0, or checks that it is there.
func begin(store *ledgerstore.Store, raw []byte, plan *anchor.Plan) error {
	if store.Size() == 0 {
		return store.Append([][]byte{raw}, plan)
	}
	have, err := store.Entry(0)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, raw) {
		return errors.New("the log begins with another genesis entry than this ceremony's")
	}
	return nil
}

// extender is the part of the TPM that takes the first commit.
type extender interface {
	Head() ([32]byte, error)
	PCR() ([32]byte, error)
	ExtendHead(x [32]byte) error
	ExtendPCR(x [32]byte) error
}

// extend has HEAD and then the PCR take the first commit, each once: it reads
// and compares before, and after what was reported as failed.
func extend(t extender, base, x [32]byte) error {
	if err := extendOnce(t.Head, t.ExtendHead, base, x); err != nil {
		return fmt.Errorf("HEAD: %w", err)
	}
	if err := extendOnce(t.PCR, t.ExtendPCR, [32]byte{}, x); err != nil {
		return fmt.Errorf("PCR: %w", err)
	}
	return nil
}

func extendOnce(read func() ([32]byte, error), extend func([32]byte) error, from, x [32]byte) error {
	to := anchor.Extend(from, x)
	now, err := read()
	switch {
	case err != nil || now == to:
		return err
	case now != from:
		return fmt.Errorf("it was extended by something else (%x): restart the board and enrol again", now)
	}
	if err := extend(x); err != nil {
		if now, readErr := read(); readErr != nil || now != to {
			return errors.Join(err, readErr)
		}
	}
	return nil
}

// attest makes the first commit's attestations, checks both before anyone
// relies on them, and appends them.
func (c *ceremony) attest(store *ledgerstore.Store, g *ledger.Genesis, x [32]byte) error {
	ak, err := quote.ParseAK(g.AK)
	if err != nil {
		return err
	}
	certify, err := c.TPM.CertifyHead(quote.CertifyTag(x))
	if err != nil {
		return err
	}
	facts, err := ak.VerifyNV(certify, g.HeadName, quote.CertifyTag(x))
	if err == nil && facts.Contents != anchor.Extend(g.Base, x) {
		err = errors.New("HEAD does not hold what was extended")
	}
	if err != nil {
		return err
	}
	q, err := c.TPM.QuotePCR(quote.QuoteTag(x))
	if err != nil {
		return err
	}
	pcr, err := ak.VerifyQuote(q, g.PCR, quote.QuoteTag(x))
	if err == nil && pcr.PCRDigest != quote.PCRDigest(anchor.Extend([32]byte{}, x)) {
		err = fmt.Errorf("PCR %d does not hold what was extended", g.PCR)
	}
	if err != nil {
		return err
	}
	raw, err := ledger.Marshal(ledger.Header{Index: 1, Time: c.Now}, &ledger.Attest{Size: 1, Certify: certify, Quote: q})
	if err != nil {
		return err
	}
	return store.Append([][]byte{raw}, nil)
}

// writeTrust is the last step: a trust file exists only for a log that does.
func (c *ceremony) writeTrust(context.Context) error {
	if err := WriteTrust(c.TrustDir, c.trust, c.log); err != nil {
		return err
	}
	c.words.add("trust       %s, SHA-256 of its text %x", c.TrustDir, c.trust.Hash())
	return nil
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
