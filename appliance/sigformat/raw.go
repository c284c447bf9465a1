package sigformat

import (
	"crypto/rsa"
	"encoding/asn1"
	"math/big"

	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

// planRaw plans a signature over the file's digest itself: a PKCS #1 v1.5 block,
// or a DER sequence of two integers for ECDSA, as "openssl dgst -sign" makes
// them. Nothing in it says what it is for, so that its key makes no others.
func planRaw(k *signing.Key, file message.Digest) *signing.Plan {
	p := &signing.Plan{Alg: file.Alg, Digest: file.Sum, Key: k, Open: k.Split}
	p.Seal = func(values [][]byte) []byte {
		if _, ok := k.Public.(*rsa.PublicKey); ok {
			_, size := k.Shape()
			return signing.Pad(values[0], size)
		}
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(values[0]), new(big.Int).SetBytes(values[1])})
		if err != nil {
			panic("sigformat: two integers have no DER: " + err.Error())
		}
		return der
	}
	return p
}
