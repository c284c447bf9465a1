package sigformat

import (
	"encoding/asn1"
	"math/big"

	"touchmark/hostlink/message"
)

// planRaw plans a signature over the file's digest itself: a PKCS #1 v1.5 block,
// or a DER sequence of two integers for ECDSA, as "openssl dgst -sign" makes
// them. Nothing in it says what it is for, so that its key makes no others.
func planRaw(k *Key, file message.Digest) *Plan {
	p := &Plan{Alg: file.Alg, Digest: file.Sum, key: k}
	p.seal = func(values [][]byte) []byte {
		if kind, ok := k.kind.(rsaType); ok {
			return padded(values[0], int(kind)/8)
		}
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(values[0]), new(big.Int).SetBytes(values[1])})
		if err != nil {
			panic("sigformat: two integers have no DER: " + err.Error())
		}
		return der
	}
	p.open = k.kind.split
	return p
}
