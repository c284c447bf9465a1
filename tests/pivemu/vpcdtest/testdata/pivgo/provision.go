package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-piv/piv-go/v2/piv"
)

// provision makes a key in a slot, named as in 9a:EC256, and a certificate for
// it that the key itself has signed.
func provision(arg string) {
	name, algorithm, _ := strings.Cut(arg, ":")
	number, err := strconv.ParseUint(name, 16, 8)
	must("slot", err)
	slot, known := map[uint64]piv.Slot{
		0x9a: piv.SlotAuthentication, 0x9c: piv.SlotSignature, 0x9d: piv.SlotKeyManagement, 0x9e: piv.SlotCardAuthentication,
	}[number]
	alg, known2 := map[string]piv.Algorithm{
		"EC256": piv.AlgorithmEC256, "EC384": piv.AlgorithmEC384, "RSA2048": piv.AlgorithmRSA2048,
	}[algorithm]
	check("slot and algorithm of "+arg, known && known2)
	spec := piv.Key{Algorithm: alg, PINPolicy: piv.PINPolicyOnce, TouchPolicy: piv.TouchPolicyAlways}
	pub, err := yk.GenerateKey(key, slot, spec)
	must("GenerateKey", err)
	der := certify(slot, pub, name)
	cert, err := x509.ParseCertificate(der)
	must("ParseCertificate", err)
	must("SetCertificate", yk.SetCertificate(key, slot, cert))
	spki, err := x509.MarshalPKIXPublicKey(pub)
	must("MarshalPKIXPublicKey", err)
	write("pub"+name+".pem", "PUBLIC KEY", spki)
	write("cert"+name+".pem", "CERTIFICATE", der)
}

func certify(slot piv.Slot, pub crypto.PublicKey, name string) []byte {
	private, err := yk.PrivateKey(slot, pub, piv.KeyAuth{PIN: piv.DefaultPIN})
	must("PrivateKey", err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "key in " + name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, private)
	must("CreateCertificate", err)
	return der
}

func write(name, kind string, der []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	must(fmt.Sprint("writing ", name), os.WriteFile(name, text, 0o600))
}
