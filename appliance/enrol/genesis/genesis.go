// Package genesis makes a log's first commit, on disk and in the TPM, and the
// trust directory that tells others of it (docs/spec/tpm.md §8, trust.md).
//
// Guarantee: all of it may end anywhere and be done again; each part is done
// only if it was not done before, so HEAD and PCR take the commit once.
package genesis

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/quote"
)

// TPM is the part of the TPM that takes the first commit and attests it.
type TPM interface {
	extender
	CertifyHead(tag [32]byte) (quote.Attestation, error)
	QuotePCR(tag [32]byte) (quote.Attestation, error)
}

// Commit writes entry 0 into the log at dir, has the TPM take it, and attests
// that. The same genesis and time give the same entry. It answers what is to be
// pinned, but for the administrators, who stand in the policy.
func Commit(dir string, t TPM, g *ledger.Genesis, now time.Time) (_ *anchor.Trust, err error) {
	raw, err := ledger.Marshal(ledger.Header{Time: now}, g)
	if err != nil {
		return nil, err
	}
	store, err := openLog(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	x := ledger.X(ledger.CheckpointBody(g.Origin, 1, ledger.LeafHash(raw)))
	if err := begin(store, raw, &anchor.Plan{Size: 1, Prev: g.Base, X: x}); err != nil {
		return nil, err
	}
	if store.Size() > 1 { // attested: the PCR may have been reset since, which a start explains
		return anchor.TrustOf(raw, g), holds(t, anchor.Extend(g.Base, x))
	}
	if err := extend(t, g.Base, x); err != nil {
		return nil, fmt.Errorf("committing the genesis entry: %w", err)
	}
	if err := attest(store, t, g, x, now); err != nil {
		return nil, fmt.Errorf("attesting the genesis entry: %w", err)
	}
	return anchor.TrustOf(raw, g), nil
}

// holds refuses a TPM that did not take the commit that the log says it took.
func holds(t TPM, want [32]byte) error {
	head, err := t.Head()
	if err == nil && head != want {
		err = fmt.Errorf("HEAD is %x, not what the log's first commit made of it: is it another TPM?", head)
	}
	return err
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
func attest(store *ledgerstore.Store, t TPM, g *ledger.Genesis, x [32]byte, now time.Time) error {
	ak, err := quote.ParseAK(g.AK)
	if err != nil {
		return err
	}
	certify, err := t.CertifyHead(quote.CertifyTag(x))
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
	q, err := t.QuotePCR(quote.QuoteTag(x))
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
	raw, err := ledger.Marshal(ledger.Header{Index: 1, Time: now}, &ledger.Attest{Size: 1, Certify: certify, Quote: q})
	if err != nil {
		return err
	}
	return store.Append([][]byte{raw}, nil)
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
		{"cert.asc", certificate.ArmorAll(t.Certs)},
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
