// Package binding has an OpenPGP primary key that is kept offline take a token's
// key for a signing subkey: the other half of what the key agreed to in its log
// (docs/spec/signature.md §5.2).
//
// The primary's secret key is an export of gpg's or another tool's, read with
// ProtonMail's go-crypto; the result is the primary's certificate with the subkey,
// as every OpenPGP tool takes it. Doing it again moves the subkey's expiry: the key
// agrees once, the token is not needed for that.
//
// The package is pure: time is given to it, and what is random is go-crypto's.
package binding

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"touchmark/appliance/sigformat/openpgp/subkey"
)

// Bind makes the primary's certificate, binary, with the key of a request as signing
// subkey from now on until it expires; zero is never. secret is the primary's secret
// key, armored or not, perhaps with others; passphrase opens it, nil if it has none.
func Bind(b *subkey.Binding, secret, passphrase []byte, now, expires time.Time) ([]byte, error) {
	if len(secret) > MaxSecret {
		return nil, fmt.Errorf("secret key of %d bytes, at most %d", len(secret), MaxSecret)
	}
	e, err := primary(b, secret, passphrase)
	if err != nil {
		return nil, err
	}
	key, agreed, err := parts(b)
	if err != nil {
		return nil, err
	}
	sig := &packet.Signature{
		Version: 4, SigType: packet.SigTypeSubkeyBinding, PubKeyAlgo: e.PrimaryKey.PubKeyAlgo, Hash: crypto.SHA512, CreationTime: now,
		IssuerKeyId: &e.PrimaryKey.KeyId, FlagsValid: true, FlagSign: true, EmbeddedSignature: agreed,
	}
	if !expires.IsZero() {
		if !expires.After(now) || !expires.After(key.CreationTime) {
			return nil, fmt.Errorf("the subkey would expire at %s, before it is bound", expires.UTC().Format(time.RFC3339))
		}
		left := uint32(expires.Sub(key.CreationTime) / time.Second)
		sig.KeyLifetimeSecs = &left
	}
	plain := false
	cfg := &packet.Config{Time: func() time.Time { return now }, NonDeterministicSignaturesViaNotation: &plain}
	if err := sig.SignKey(key, e.PrivateKey, cfg); err != nil {
		return nil, fmt.Errorf("the primary key's signature: %w", err)
	}
	return withSubkey(e, key, sig)
}

// withSubkey is the primary's certificate with the subkey, in the place of what it was bound by
// before.
func withSubkey(e *openpgp.Entity, key *packet.PublicKey, sig *packet.Signature) ([]byte, error) {
	if err := e.PrimaryKey.VerifyKeySignature(key, sig); err != nil {
		return nil, fmt.Errorf("the binding does not verify: %w", err)
	}
	e.Subkeys = slices.DeleteFunc(e.Subkeys, func(s openpgp.Subkey) bool { return bytes.Equal(s.PublicKey.Fingerprint, key.Fingerprint) })
	e.Subkeys = append(e.Subkeys, openpgp.Subkey{PublicKey: key, Sig: sig})
	var out bytes.Buffer
	if err := e.Serialize(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// primary finds the request's primary among secret keys, and opens it.
func primary(b *subkey.Binding, secret, passphrase []byte) (*openpgp.Entity, error) {
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(secret, []byte("-----BEGIN ")) {
		read = openpgp.ReadArmoredKeyRing
	}
	ring, err := read(bytes.NewReader(secret))
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	fpr := b.Primary.Fingerprint()
	i := slices.IndexFunc(ring, func(e *openpgp.Entity) bool { return bytes.Equal(e.PrimaryKey.Fingerprint, fpr[:]) })
	if i < 0 {
		return nil, fmt.Errorf("the request is for the primary key %X, which is not here", fpr)
	}
	e := ring[i]
	if e.PrivateKey == nil || e.PrivateKey.Dummy() {
		return nil, errors.New("the primary's secret half is not in this file: export it with gpg --export-secret-keys")
	}
	if e.PrivateKey.Encrypted {
		if err := e.PrivateKey.Decrypt(passphrase); err != nil {
			return nil, fmt.Errorf("the primary's secret key is locked, and the passphrase does not open it: %w", err)
		}
	}
	return e, nil
}

// parts are the subkey and the key's agreement as go-crypto has them.
func parts(b *subkey.Binding) (*packet.PublicKey, *packet.Signature, error) {
	sub, err := packet.Read(bytes.NewReader(b.Subkey()))
	if err != nil {
		return nil, nil, err
	}
	agreed, err := packet.Read(bytes.NewReader(b.Agreed))
	if err != nil {
		return nil, nil, err
	}
	key, isKey := sub.(*packet.PublicKey)
	sig, isSig := agreed.(*packet.Signature)
	if !isKey || !isSig {
		return nil, nil, errors.New("binding request of other packets")
	}
	return key, sig, nil
}
