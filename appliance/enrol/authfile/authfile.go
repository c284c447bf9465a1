// Package authfile keeps the authorizations of a TPM's hierarchies in a file
// for the administrators: a canonical text, docs/spec/tpm.md §8.2. The board
// does not keep it. Guarantee: it is durable before the TPM gets what is in it.
package authfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"touchmark/hostlink/message/canon"
	"touchmark/tpm/device"
	"touchmark/tpm/ledgerstore/durable"
)

// domain is the first line of the file (docs/spec/tpm.md §8.2).
const domain = "touchmark/hierarchy-auth/v1"

// maxAuths bounds it, in bytes.
const maxAuths = 1 << 10

// Read reads the file that an enrolment wrote.
func Read(path string) (a device.Auths, err error) {
	f, err := os.Open(path)
	if err != nil {
		return a, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxAuths))
	defer clear(text)
	if err != nil {
		return a, err
	}
	r := canon.NewReader(text, domain)
	a.Owner = r.Hex(r.Line("owner", 1)[0], device.AuthSize)
	a.Endorsement = r.Hex(r.Line("endorsement", 1)[0], device.AuthSize)
	a.Lockout = r.Hex(r.Line("lockout", 1)[0], device.AuthSize)
	if err := r.Close(); err != nil {
		return device.Auths{}, fmt.Errorf("%s does not hold the authorizations of a TPM: %w", path, err)
	}
	return a, nil
}

// Make reads the file if it is there (an enrolment that was cut
// short wrote it) and otherwise makes random authorizations and writes them
// down before the TPM gets them, so that they cannot be lost in between.
func Make(path string) (device.Auths, error) {
	a, err := Read(path)
	if !errors.Is(err, os.ErrNotExist) {
		return a, err
	}
	text := domain + "\n"
	for _, h := range []struct {
		name string
		auth *[]byte
	}{{"owner", &a.Owner}, {"endorsement", &a.Endorsement}, {"lockout", &a.Lockout}} {
		*h.auth = make([]byte, device.AuthSize)
		rand.Read(*h.auth) // never fails (crypto/rand)
		text += h.name + " " + hex.EncodeToString(*h.auth) + "\n"
	}
	return a, durable.WriteFile(path, []byte(text), 0o600)
}
