package signing

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// A signature's ASN.1 is what encoding/asn1 writes, for values of every length
// and sign bit.
func TestPropertyDER(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Custom(func(t *rapid.T) *big.Int {
			return new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 48).Draw(t, "bytes"))
		})
		v := struct{ R, S *big.Int }{value.Draw(t, "r"), value.Draw(t, "s")}
		want, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := derOf([][]byte{v.R.Bytes(), v.S.Bytes()}); !bytes.Equal(got, want) {
			t.Fatalf("%x, want %x", got, want)
		}
	})
}
