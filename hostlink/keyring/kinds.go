package keyring

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/envelope"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/sshsig"
	"touchmark/appliance/sigformat/strictjson"
)

// Certificates are the OpenPGP certificates of the keys for files, one behind the other;
// with all, those of every key that has one. They are armored unless binary. Nothing is
// empty.
func Certificates(keys certificate.Keyring, all, binary bool) []byte {
	var out []byte
	for _, k := range keys {
		if !k.Bare() && (all || k.Family == sigformat.FamilyOpenPGP) {
			out = append(out, k.Bytes()...)
		}
	}
	if binary || len(out) == 0 {
		return out
	}
	return openpgp.Armor(out)
}

// SSH are the keys that no OpenPGP certificate is of, a line each as SSH has them.
func SSH(keys certificate.Keyring) (out []byte) {
	for _, k := range keys {
		if k.Bare() {
			out = append(out, sshsig.Public(k.Key)+"\n"...)
		}
	}
	return out
}

// PEM are the same as SubjectPublicKeyInfo (RFC 5280 §4.1), for openssl.
func PEM(keys certificate.Keyring) (out []byte, err error) {
	for _, k := range keys {
		if !k.Bare() {
			continue
		}
		text, err := pemText(k)
		if err != nil {
			return nil, err
		}
		out = append(out, text...)
	}
	return out, nil
}

func pemText(k *certificate.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Key.Public)
	if err != nil {
		return nil, fmt.Errorf("key %X: %w", k.Key.Fingerprint(), err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// InToto are those of them that files of in-toto and DSSE name by a JSON object of
// securesystemslib's, a line each.
func InToto(keys certificate.Keyring) ([]byte, error) {
	var out bytes.Buffer
	for _, k := range keys {
		o := envelope.SecureSystems(k.Key)
		if o == nil || !k.Bare() {
			continue
		}
		if err := json.Compact(&out, strictjson.Text(o)); err != nil {
			return nil, err
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}
