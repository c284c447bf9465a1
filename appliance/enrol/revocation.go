package enrol

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"touchmark/appliance/enrol/sealed"
	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
)

// Revocations says where revocation certificates go, and who can read them. They are
// for the day on which the token is lost and cannot be ordered to revoke its key;
// until then whoever has one could end the key.
type Revocations struct {
	Dir string // a file for each key, RevocationFile
	To  []age.Recipient
}

// RevocationFile is the file of a key's revoked certificate: age-encrypted, armored
// as gpg imports it.
func RevocationFile(fingerprint [20]byte) string {
	return fmt.Sprintf("revocation-%X.age", fingerprint)
}

// revocations has each key with a certificate sign a revocation of itself, once.
func (c *ceremony) revocations(ctx context.Context) error {
	if c.Revocations == nil {
		c.words.Once("revocation certificates: none were made")
		return nil
	}
	for _, k := range c.keys {
		cert, err := certificate.Parse(k.state.Cert)
		if err == nil && !cert.Bare() {
			err = c.revocation(ctx, k, cert)
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
	}
	return nil
}

func (c *ceremony) revocation(ctx context.Context, k *key, cert *certificate.Certificate) error {
	path := filepath.Join(c.Revocations.Dir, RevocationFile(cert.Key.Fingerprint()))
	if _, err := os.Stat(path); err == nil { // of this key: a ceremony was cut short
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := c.unlock(ctx, k.token); err != nil {
		return err
	}
	c.ask("touch", operator.AskTouch, "Touch "+c.called(k.token)+": its key "+k.Name+" signs its own REVOCATION, which the auditors keep locked up.")
	revoked, err := revoke(k, cert, c.policy.Origin)
	if err != nil {
		return err
	}
	c.words.Once("revocation  of key %s, encrypted for %d recipients, in %s", k.Name, len(c.Revocations.To), filepath.Base(path))
	if err := c.interrupt(); err != nil {
		return err
	}
	return sealed.Write(path, strings.TrimSuffix(string(openpgp.Armor(revoked.Bytes())), "\n"), c.Revocations.To)
}

// revoke is the certificate with a revocation that no order of the log asked for: the
// order's hash in it is zero.
func revoke(k *key, cert *certificate.Certificate, origin string) (*certificate.Certificate, error) {
	x := certificate.Certification{Created: cert.Key.Created, Revoke: true, Code: certificate.NoReason, Origin: origin}
	p, err := cert.Plan(x)
	if err != nil {
		return nil, err
	}
	raw, err := k.sign(p.Digest, p.Alg.Hash())
	if err != nil {
		return nil, err
	}
	sig, err := p.Finish(raw)
	if err != nil {
		return nil, err
	}
	return cert.With(x, sig)
}

// expiry says when a certificate expires.
func expiry(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}
