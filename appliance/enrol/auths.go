package enrol

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

// authsDomain is the first line of the file that holds the authorizations of
// the TPM's hierarchies: a canonical text (docs/spec/tpm.md §8.2), for the
// administrators alone.
const authsDomain = "touchmark/hierarchy-auth/v1"

// maxAuths bounds that file.
const maxAuths = 1 << 10

// HierarchyAuths are the authorizations of the TPM's hierarchies.
type HierarchyAuths = device.Auths

// ReadHierarchyAuths reads the file that an enrolment wrote.
func ReadHierarchyAuths(path string) (a HierarchyAuths, err error) {
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
	r := canon.NewReader(text, authsDomain)
	a.Owner = r.Hex(r.Line("owner", 1)[0], device.AuthSize)
	a.Endorsement = r.Hex(r.Line("endorsement", 1)[0], device.AuthSize)
	a.Lockout = r.Hex(r.Line("lockout", 1)[0], device.AuthSize)
	if err := r.Close(); err != nil {
		return HierarchyAuths{}, fmt.Errorf("%s does not hold the authorizations of a TPM: %w", path, err)
	}
	return a, nil
}

// makeHierarchyAuths reads the file if it is there (an enrolment that was cut
// short wrote it) and otherwise makes random authorizations and writes them
// down before the TPM gets them, so that they cannot be lost in between.
func makeHierarchyAuths(path string) (HierarchyAuths, error) {
	a, err := ReadHierarchyAuths(path)
	if !errors.Is(err, os.ErrNotExist) {
		return a, err
	}
	text := authsDomain + "\n"
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
