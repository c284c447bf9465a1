package policy

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// testKey makes a note key from a fixed seed, SHA-256 of "touchmark test key "
// and the name: the keys of the example policies.
func testKey(name string) (note.Signer, string) {
	seed := sha256.Sum256([]byte("touchmark test key " + name))
	vkey, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		panic(err)
	}
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))))
	if err != nil {
		panic(err)
	}
	return s, vkey
}

func signer(name string) note.Signer { s, _ := testKey(name); return s }

func vkey(name string) string { _, v := testKey(name); return v }
