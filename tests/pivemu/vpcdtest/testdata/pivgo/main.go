// Command pivgo puts the whole of piv-go's API to an emulated token, behind the
// system's pcscd or, built with the tag emulated, behind our own PC/SC. It is a
// process of its own, because no other package of the tree may be linked with
// the system's libpcsclite.
//
//	pivgo                      try everything
//	pivgo SLOT:ALGORITHM …     make keys with certificates for other clients:
//	                           pubSLOT.pem and certSLOT.pem here, and in the token
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/go-piv/piv-go/v2/piv"

	"touchmark/tests/pivemu"
)

var (
	yk     *piv.YubiKey
	key    = piv.DefaultManagementKey
	modern = os.Getenv("PROFILE") == "5.7.1"
	digest = sha256.Sum256([]byte("a message"))
)

func main() {
	cards, err := piv.Cards()
	must("Cards", err)
	check("Cards", slices.Contains(cards, os.Getenv("PIVEMU_READER")))
	yk, err = piv.Open(os.Getenv("PIVEMU_READER"))
	must("Open", err)
	for _, arg := range os.Args[1:] {
		provision(arg)
	}
	if len(os.Args) > 1 {
		must("Close", yk.Close())
		return
	}
	identity()
	generated()
	imported()
	slots()
	objects()
	secrets()
	must("Close", yk.Close())
	fmt.Println("all of piv-go passed")
}

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func check(what string, ok bool) {
	if !ok {
		must(what, errors.New("wrong result"))
	}
}

func identity() {
	v := yk.Version()
	check("Version", fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) == os.Getenv("PROFILE"))
	serial, err := yk.Serial()
	must("Serial", err)
	check("Serial", serial == 12345678)
	form, err := yk.FormFactor()
	must("FormFactor", err)
	check("FormFactor", form == piv.FormfactorUSBAKeychain)
	_, err = yk.KeyInfo(piv.SlotSignature)
	check("KeyInfo of an empty slot", errors.Is(err, piv.ErrNotFound))
	_, err = yk.Attest(piv.SlotSignature)
	check("Attest of an empty slot", errors.Is(err, piv.ErrNotFound))
}

func algorithms() []piv.Algorithm {
	list := []piv.Algorithm{piv.AlgorithmEC256, piv.AlgorithmEC384, piv.AlgorithmRSA1024, piv.AlgorithmRSA2048}
	if modern {
		list = append(list, piv.AlgorithmRSA3072, piv.AlgorithmEd25519, piv.AlgorithmX25519)
	}
	if modern && os.Getenv("RSA4096") != "" { // made in seconds, many of them with the race detector
		list = append(list, piv.AlgorithmRSA4096)
	}
	return list
}

func generated() {
	for _, alg := range algorithms() {
		policies := []piv.TouchPolicy{piv.TouchPolicyNever, piv.TouchPolicyAlways}
		if alg == piv.AlgorithmRSA3072 || alg == piv.AlgorithmRSA4096 { // once is enough
			policies = policies[1:]
		}
		for _, touch := range policies {
			spec := piv.Key{Algorithm: alg, PINPolicy: piv.PINPolicyOnce, TouchPolicy: touch}
			pub, err := yk.GenerateKey(key, piv.SlotSignature, spec)
			must(fmt.Sprint("GenerateKey ", alg), err)
			info, err := yk.KeyInfo(piv.SlotSignature)
			must("KeyInfo", err)
			check("KeyInfo", info.Algorithm == alg && info.TouchPolicy == touch &&
				info.PINPolicy == piv.PINPolicyOnce && info.Origin == piv.OriginGenerated && same(info.PublicKey, pub))
			attested(pub, touch)
			use(pub, piv.KeyAuth{PIN: piv.DefaultPIN})
		}
	}
}

func same(a, b crypto.PublicKey) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

func attested(pub crypto.PublicKey, touch piv.TouchPolicy) {
	cert, err := yk.Attest(piv.SlotSignature)
	must("Attest", err)
	issuer, err := yk.AttestationCertificate()
	must("AttestationCertificate", err)
	root, err := pivemu.Root()
	must("Root", err)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	verifier := piv.Verifier{Roots: roots}
	a, err := verifier.Verify(issuer, cert)
	must("Verify", err)
	check("Attestation", a.Serial == 12345678 && a.Version == yk.Version() && a.TouchPolicy == touch &&
		a.PINPolicy == piv.PINPolicyOnce && a.Slot == piv.SlotSignature &&
		a.Formfactor == piv.FormfactorUSBAKeychain)
	spki, err := x509.MarshalPKIXPublicKey(pub)
	must("MarshalPKIXPublicKey", err)
	check("attested key", bytes.Equal(cert.RawSubjectPublicKeyInfo, spki))
	_, err = piv.Verify(issuer, cert)
	check("Verify against Yubico's roots", err != nil)
}

// use signs, decrypts or agrees, whatever the key can.
func use(pub crypto.PublicKey, auth piv.KeyAuth) {
	private, err := yk.PrivateKey(piv.SlotSignature, pub, auth)
	must("PrivateKey", err)
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		sig, err := private.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
		must("Sign ECDSA", err)
		check("Sign ECDSA", ecdsa.VerifyASN1(pub, digest[:], sig))
		agree(private.(*piv.ECDSAPrivateKey), pub)
	case *rsa.PublicKey:
		useRSA(private, pub)
	case ed25519.PublicKey:
		sig, err := private.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.Hash(0))
		must("Sign Ed25519", err)
		check("Sign Ed25519", ed25519.Verify(pub, digest[:], sig))
	case *ecdh.PublicKey:
		agree(private.(*piv.X25519PrivateKey), pub)
	}
}

func useRSA(private crypto.PrivateKey, pub *rsa.PublicKey) {
	sig, err := private.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
	must("Sign RSA", err)
	must("Sign RSA", rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig))
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	sig, err = private.(crypto.Signer).Sign(rand.Reader, digest[:], pss)
	must("Sign PSS", err)
	must("Sign PSS", rsa.VerifyPSS(pub, crypto.SHA256, digest[:], sig, pss))
	sealed, err := rsa.EncryptPKCS1v15(rand.Reader, pub, digest[:])
	must("encrypt", err)
	plain, err := private.(crypto.Decrypter).Decrypt(rand.Reader, sealed, nil)
	must("Decrypt", err)
	check("Decrypt", bytes.Equal(plain, digest[:]))
}

func agree(private interface {
	ECDH(*ecdh.PublicKey) ([]byte, error)
}, pub interface{}) {
	var own *ecdh.PublicKey
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		p, err := pub.ECDH()
		must("public point", err)
		own = p
	case *ecdh.PublicKey:
		own = pub
	}
	peer, err := own.Curve().GenerateKey(rand.Reader)
	must("peer", err)
	secret, err := private.ECDH(peer.PublicKey())
	must("ECDH", err)
	want, err := peer.ECDH(own)
	must("ECDH", err)
	check("ECDH", bytes.Equal(secret, want))
}

func imported() {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must("rsa", err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must("ecdsa", err)
	keys := []crypto.PrivateKey{rsaKey, ecKey}
	if modern {
		_, ed, err := ed25519.GenerateKey(rand.Reader)
		must("ed25519", err)
		x, err := ecdh.X25519().GenerateKey(rand.Reader)
		must("x25519", err)
		keys = append(keys, ed, x)
	}
	for _, k := range keys {
		spec := piv.Key{PINPolicy: piv.PINPolicyAlways, TouchPolicy: piv.TouchPolicyCached}
		switch k.(type) { // piv-go finds out for the other types
		case ed25519.PrivateKey:
			spec.Algorithm = piv.AlgorithmEd25519
		case *ecdh.PrivateKey:
			spec.Algorithm = piv.AlgorithmX25519
		}
		must(fmt.Sprintf("SetPrivateKeyInsecure %T", k), yk.SetPrivateKeyInsecure(key, piv.SlotSignature, k, spec))
		pub := k.(interface{ Public() crypto.PublicKey }).Public()
		use(pub, piv.KeyAuth{PIN: piv.DefaultPIN, PINPolicy: piv.PINPolicyAlways})
		info, err := yk.KeyInfo(piv.SlotSignature)
		must("KeyInfo", err)
		check("KeyInfo of an import", info.Origin == piv.OriginImported && same(info.PublicKey, pub))
		_, err = yk.Attest(piv.SlotSignature)
		check("Attest of an import", errors.Is(err, piv.ErrNotFound))
	}
}

// slots: a key in every kind of slot is its own, and attested as such.
func slots() {
	retired, ok := piv.RetiredKeyManagementSlot(0x95)
	check("RetiredKeyManagementSlot", ok)
	all := []piv.Slot{piv.SlotAuthentication, piv.SlotSignature, piv.SlotKeyManagement, piv.SlotCardAuthentication, retired}
	spec := piv.Key{Algorithm: piv.AlgorithmEC256, PINPolicy: piv.PINPolicyNever, TouchPolicy: piv.TouchPolicyNever}
	public := map[piv.Slot]crypto.PublicKey{}
	for _, slot := range all {
		pub, err := yk.GenerateKey(key, slot, spec)
		must(fmt.Sprint("GenerateKey in ", slot), err)
		public[slot] = pub
	}
	for _, slot := range all {
		info, err := yk.KeyInfo(slot)
		must("KeyInfo", err)
		cert, err := yk.Attest(slot)
		must("Attest", err)
		check(fmt.Sprint("key of ", slot), same(info.PublicKey, public[slot]) && same(cert.PublicKey, public[slot]))
		private, err := yk.PrivateKey(slot, public[slot], piv.KeyAuth{PINPolicy: piv.PINPolicyNever})
		must("PrivateKey", err)
		sig, err := private.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
		must("Sign", err)
		check(fmt.Sprint("signature by ", slot), ecdsa.VerifyASN1(public[slot].(*ecdsa.PublicKey), digest[:], sig))
	}
}

func objects() {
	_, err := yk.Certificate(piv.SlotAuthentication)
	check("Certificate of an empty slot", errors.Is(err, piv.ErrNotFound))
	root, err := pivemu.Root()
	must("Root", err)
	must("SetCertificate", yk.SetCertificate(key, piv.SlotAuthentication, root))
	cert, err := yk.Certificate(piv.SlotAuthentication)
	must("Certificate", err)
	check("Certificate", cert.Equal(root))
	must("SetMetadata", yk.SetMetadata(key, &piv.Metadata{ManagementKey: &key}))
	m, err := yk.Metadata(piv.DefaultPIN)
	must("Metadata", err)
	check("Metadata", m.ManagementKey != nil && bytes.Equal(*m.ManagementKey, key))
}

func secrets() {
	other := bytes.Repeat([]byte{0x42}, 24)
	must("SetManagementKey", yk.SetManagementKey(key, other))
	check("SetManagementKey with the old key", yk.SetManagementKey(key, other) != nil)
	must("SetRetries", yk.SetRetries(other, piv.DefaultPIN, 5, 4))
	tries, err := yk.Retries()
	must("Retries", err)
	check("Retries", tries == 5)
	var wrong piv.AuthErr
	check("wrong PIN", errors.As(yk.VerifyPIN("000000"), &wrong) && wrong.Retries == 4)
	check("VerifyBiometrics of a token without", yk.VerifyBiometrics() != nil)
	must("SetPIN", yk.SetPIN(piv.DefaultPIN, "654321"))
	must("VerifyPIN", yk.VerifyPIN("654321"))
	must("SetPUK", yk.SetPUK(piv.DefaultPUK, "87654321"))
	must("Unblock", yk.Unblock("87654321", "112233"))
	must("VerifyPIN", yk.VerifyPIN("112233"))
	must("Reset", yk.Reset())
	must("VerifyPIN after Reset", yk.VerifyPIN(piv.DefaultPIN))
	_, err = yk.KeyInfo(piv.SlotSignature)
	check("KeyInfo after Reset", errors.Is(err, piv.ErrNotFound))
}
