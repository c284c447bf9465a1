package keyring

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/sshsig"
)

// sheet is a page to print, hang up and read out: 72 columns, plain ASCII but
// for user ids.
func (o Options) sheet(keys certificate.Keyring) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "FINGERPRINTS OF %s\n\nLog  %s\n", strings.ToUpper(o.Name), o.Origin)
	if o.Emulated {
		fmt.Fprint(&b, "\n*** EMULATED TOKENS: these keys are for trials. Trust none of them. ***\n")
	}
	fmt.Fprint(&b, `
A signature counts only if its key has one of these fingerprints.
Compare all of it, with a copy that came another way than the key.
`)
	for i, k := range keys {
		if err := entry(&b, i+1, k); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// entry describes one key.
func entry(b *bytes.Buffer, n int, k *certificate.Certificate) error {
	fmt.Fprintf(b, "\n%s\n%d. %s, made %s\n", strings.Repeat("-", 72), n, kindOf(k), k.Key.Created.UTC().Format(time.DateOnly))
	if k.UserID != "" {
		fmt.Fprintf(b, "   %s\n", k.UserID)
	}
	switch {
	case k.Revoked:
		fmt.Fprint(b, "   REVOKED: no new signature by it counts.\n")
		if k.Code.Hard() {
			fmt.Fprint(b, "   Nor does any old one: somebody else may have it, or no reason is given.\n")
		}
	case !k.Expires.IsZero():
		fmt.Fprintf(b, "   valid until %s\n", k.Expires.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(b, "\n   %s\n", grouped(k.Key.Fingerprint()))
	if !k.Bare() {
		return nil
	}
	ssh, err := sshFingerprint(k.Key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(k.Key.Public)
	if err != nil {
		return fmt.Errorf("key %X: %w", k.Key.Fingerprint(), err)
	}
	fmt.Fprintf(b, "   ssh  %s\n   pem  %x\n", ssh, sha256.Sum256(der))
	return nil
}

func kindOf(k *certificate.Certificate) string {
	switch {
	case k.Bare():
		return k.Key.Algorithm() + " key without a certificate"
	case k.Family == sigformat.FamilyInToto:
		return k.Key.Algorithm() + " OpenPGP key for in-toto's layouts and links only"
	}
	return k.Key.Algorithm() + " OpenPGP key"
}

// grouped is a fingerprint as gpg prints it: groups of four, a gap in the middle.
func grouped(fpr [20]byte) string {
	var b strings.Builder
	for i := 0; i < len(fpr); i += 2 {
		if i == len(fpr)/2 {
			b.WriteString("  ")
		} else if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%04X", binary.BigEndian.Uint16(fpr[i:]))
	}
	return b.String()
}

// sshFingerprint is that of ssh-keygen -l: SHA-256 over the key's blob.
func sshFingerprint(k *signing.Key) (string, error) {
	_, text, _ := strings.Cut(sshsig.Public(k), " ")
	blob, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), nil
}
