//go:build emulated

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tests/biglog"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
	"touchmark/tpm/quote"
)

// cryptoWork is what nobody who checks a log can leave out: each signature in it, parsed beforehand, and its bytes to hash.
type cryptoWork struct {
	ecdsa   []ecdsaCheck
	ed25519 []edCheck
	files   []string // with the entries
	bytes   int64    // in them
}

type ecdsaCheck struct {
	key         *ecdsa.PublicKey
	digest, sig []byte
}

type edCheck struct {
	key       note.Verifier
	text, sig []byte
}

// loadCrypto collects the work of an honest log.
func loadCrypto(log *biglog.Published) (*cryptoWork, error) {
	w := &cryptoWork{}
	l := &loader{work: w}
	published, err := tiles.Open(log.Log)
	if err != nil {
		return nil, err
	}
	for e, err := range published.Entries(0) {
		if err := errors.Join(err, l.entry(e)); err != nil {
			return nil, err
		}
	}
	pending, err := published.Pending()
	for _, e := range pending {
		err = errors.Join(err, l.entry(e))
	}
	if err != nil {
		return nil, err
	}
	return w, w.list(filepath.Join(log.Log, "tile", "entries"))
}

func (w *cryptoWork) list(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			w.files, w.bytes = append(w.files, path), w.bytes+st.Size()
		}
		return err
	})
}

// do checks every signature and hashes every byte, on all processors.
func (w *cryptoWork) do() error {
	var bad atomic.Int64
	each(len(w.files), func(i int) {
		b, err := os.ReadFile(w.files[i])
		if sum := sha256.Sum256(b); err != nil || sum == [32]byte{} {
			bad.Add(1)
		}
	})
	each(len(w.ecdsa), func(i int) {
		if c := w.ecdsa[i]; !ecdsa.VerifyASN1(c.key, c.digest, c.sig) {
			bad.Add(1)
		}
	})
	each(len(w.ed25519), func(i int) {
		if c := w.ed25519[i]; !c.key.Verify(c.text, c.sig) {
			bad.Add(1)
		}
	})
	if bad.Load() > 0 {
		return errors.New("a signature of the big log does not verify")
	}
	return nil
}

// each runs f(0) to f(n-1) on all processors.
func each(n int, f func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// loader takes the signatures out of entries.
type loader struct {
	work    *cryptoWork
	ak, key *ecdsa.PublicKey
	host    note.Verifier
	digests [][]byte // sign lines of the newest intent
}

func (l *loader) entry(e []byte) error {
	_, body, err := ledger.Parse(e)
	if err != nil {
		return err
	}
	switch b := body.(type) {
	case *ledger.Genesis:
		return l.genesis(b)
	case *ledger.Boot:
		return l.attested(b.Certify, b.Quote)
	case *ledger.Attest:
		return l.attested(b.Certify, b.Quote)
	case *ledger.Intent:
		l.digests = nil
		for _, d := range b.SignDigests {
			l.digests = append(l.digests, d.Sum)
		}
		return l.note(b.Submission)
	case *ledger.Outcome:
		for i, it := range b.Items {
			sig, err := integers(it.Signature)
			if err != nil {
				return err
			}
			l.work.ecdsa = append(l.work.ecdsa, ecdsaCheck{l.key, l.digests[i], sig})
		}
	}
	return nil
}

func (l *loader) genesis(g *ledger.Genesis) error {
	ak, err := quote.ParseAK(g.AK)
	if err != nil {
		return err
	}
	l.ak = ak.Public()
	cert, err := certificate.Parse(g.Keys[0].Cert)
	if err != nil {
		return err
	}
	l.key = cert.Key.Public.(*ecdsa.PublicKey)
	p, err := policy.Open(g.Policy)
	if err != nil {
		return err
	}
	l.host = p.HostVerifiers()[0]
	return nil
}

func (l *loader) attested(list ...quote.Attestation) error {
	for _, a := range list {
		r, s, err := quote.ParseSignature(a.Sig)
		if err != nil {
			return err
		}
		sig, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			return err
		}
		digest := sha256.Sum256(a.Attest)
		l.work.ecdsa = append(l.work.ecdsa, ecdsaCheck{l.ak, digest[:], sig})
	}
	return nil
}

// note takes the one signature of a note.
func (l *loader) note(msg []byte) error {
	text, line, ok := bytes.Cut(msg, []byte("\n\n"))
	at := bytes.LastIndexByte(line, ' ')
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line[at+1:])))
	if !ok || err != nil || len(raw) != 4+ed25519.SignatureSize {
		return errors.New("not a note with one signature")
	}
	l.work.ed25519 = append(l.work.ed25519, edCheck{l.host, append(bytes.Clone(text), '\n'), raw[4:]})
	return nil
}

// integers takes r and s out of an OpenPGP v4 signature packet (RFC 9580 sections 4.2.1 and 5.2.3), as ASN.1.
func integers(sig []byte) ([]byte, error) {
	body := sig[2+sig[0]&1:] // behind a length of one byte or two
	body = body[4:]          // version, type, algorithms
	for range 2 {            // hashed and unhashed subpackets
		body = body[2+binary.BigEndian.Uint16(body):]
	}
	body = body[2:] // the digest's first bytes
	var v [2]*big.Int
	for i := range v {
		n := (int(binary.BigEndian.Uint16(body)) + 7) / 8
		v[i], body = new(big.Int).SetBytes(body[2:2+n]), body[2+n:]
	}
	return asn1.Marshal(struct{ R, S *big.Int }{v[0], v[1]})
}
