// Package keyring makes of a log's public keys what the programs that check
// signatures want them as: OpenPGP certificates, the three files of a pacman
// keyring package, an apt keyring, a Web Key Directory, allowed_signers of SSH,
// PEM for OpenSSL, and a sheet of fingerprints to print.
//
// # Format
//
// Files gives paths below one directory, with forward slashes, and contents:
//
//	fingerprints.txt                              every key, to be compared by people
//	NAME.asc                                      OpenPGP certificates in one armored block
//	pacman/NAME.gpg, NAME-trusted, NAME-revoked   for pacman-key --populate NAME
//	apt/NAME-keyring.gpg                          for Signed-By
//	in-toto/NAME.asc                              certificates of keys for in-toto's metadata
//	wkd/.well-known/openpgpkey/…                  for a web server
//	ssh/allowed_signers                           for ssh-keygen -Y verify
//	pem/FINGERPRINT.pem                           for openssl
//
// A kind of file for which there is no key is left out. Keys whose certificates say
// that they are for in-toto's metadata are in no other keyring: package managers
// would take their signatures for those of packages. The fingerprint of a key
// is that of its OpenPGP form also where it has no certificate: policies and logs
// call it so.
//
// # Guarantees
//
// The same keys give the same bytes. Revoked certificates are handed on where
// that spreads the revocation (NAME.asc, pacman, WKD) and left out where a program
// might take their signatures (apt). The package is pure; it only rearranges what
// package certificate has parsed and verified.
package keyring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/sshsig"
)

// Options say what the files are called and who signs.
type Options struct {
	Name       string   // of the keyring, in file names
	Origin     string   // of the log
	Emulated   bool     // the keys are no real token's: the sheet says so
	Principals []string // in allowed_signers; empty: Name
	Namespaces []string // that allowed_signers grants; empty: any
	Only       []string // fingerprints of the keys to export; empty: all
}

// File is one file of an export.
type File struct {
	Path    string // relative, with forward slashes
	Content []byte
}

// What stands in file names and in allowed_signers needs no quoting anywhere.
var (
	nameForm      = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]{0,63}$`) })
	principalForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@/+-]{0,127}$`) })
)

// check finds what would not survive in one of the files.
func (o Options) check() error {
	if !nameForm().MatchString(o.Name) {
		return fmt.Errorf("%q is no name for a keyring: use up to %d of a-z 0-9 . _ + -", o.Name, maxName)
	}
	for _, p := range o.Principals {
		if !principalForm().MatchString(p) {
			return fmt.Errorf("%q is no principal for allowed_signers: use letters, digits and . _ @ / + -", p)
		}
	}
	for _, n := range o.Namespaces {
		if !principalForm().MatchString(n) {
			return fmt.Errorf("%q is no namespace of SSH signatures: use a name such as file or git", n)
		}
	}
	return nil
}

// Files makes all files for these keys. Wrong options are errors, and so is a
// keyring without keys.
func Files(keys certificate.Keyring, o Options) ([]File, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	keys, err := Choose(keys, o.Only)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key to export")
	}
	var certified, metadata, bare certificate.Keyring
	for _, k := range keys {
		switch {
		case k.Bare():
			bare = append(bare, k)
		case k.Family == sigformat.FamilyInToto:
			metadata = append(metadata, k)
		default:
			certified = append(certified, k)
		}
	}
	sheet, err := o.sheet(keys)
	if err != nil {
		return nil, err
	}
	files := []File{{"fingerprints.txt", sheet}}
	files = append(files, o.openpgp(certified)...)
	if len(metadata) > 0 {
		files = append(files, File{"in-toto/" + o.Name + ".asc", openpgp.Armor(concat(metadata))})
	}
	files = append(files, o.ssh(bare)...)
	pems, err := pemFiles(bare)
	return append(files, pems...), err
}

// Choose gives the keys of these fingerprints, hexadecimal with or without blanks;
// all of them for none. A fingerprint of no key is an error.
func Choose(keys certificate.Keyring, fingerprints []string) (certificate.Keyring, error) {
	if len(fingerprints) == 0 {
		return keys, nil
	}
	var chosen certificate.Keyring
	for _, text := range fingerprints {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil || len(b) != 20 {
			return nil, fmt.Errorf("%q is no fingerprint: 40 hexadecimal digits", text)
		}
		k := keys.Find([20]byte(b))
		switch {
		case k == nil:
			return nil, fmt.Errorf("no key has the fingerprint %X", b)
		case chosen.Find([20]byte(b)) == nil:
			chosen = append(chosen, k)
		}
	}
	return chosen, nil
}

// openpgp are the files for programs that read OpenPGP certificates.
func (o Options) openpgp(keys certificate.Keyring) []File {
	if len(keys) == 0 {
		return nil
	}
	var valid, trusted, revoked bytes.Buffer
	for _, k := range keys {
		if k.Revoked {
			fmt.Fprintf(&revoked, "%X\n", k.Key.Fingerprint())
			continue
		}
		valid.Write(k.Bytes())
		// Ownertrust 4, as distributions give it: pacman-key signs the key locally, and that makes it valid.
		fmt.Fprintf(&trusted, "%X:4:\n", k.Key.Fingerprint())
	}
	all := concat(keys)
	files := []File{
		{o.Name + ".asc", openpgp.Armor(all)},
		{"pacman/" + o.Name + ".gpg", all},
		{"pacman/" + o.Name + "-trusted", trusted.Bytes()},
		{"pacman/" + o.Name + "-revoked", revoked.Bytes()},
	}
	if valid.Len() > 0 {
		files = append(files, File{"apt/" + o.Name + "-keyring.gpg", valid.Bytes()})
	}
	return append(files, directory(keys)...)
}

// concat are certificates one behind the other.
func concat(keys certificate.Keyring) []byte {
	var b []byte
	for _, k := range keys {
		b = append(b, k.Bytes()...)
	}
	return b
}

// ssh is the allowed_signers of ssh-keygen(1): principals, options, key.
func (o Options) ssh(keys certificate.Keyring) []File {
	if len(keys) == 0 {
		return nil
	}
	who := o.Name
	if len(o.Principals) > 0 {
		who = strings.Join(o.Principals, ",")
	}
	if len(o.Namespaces) > 0 {
		who += ` namespaces="` + strings.Join(o.Namespaces, ",") + `"`
	}
	var b bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&b, "%s %s\n", who, sshsig.Public(k.Key))
	}
	return []File{{"ssh/allowed_signers", b.Bytes()}}
}

// pemFiles are the keys as SubjectPublicKeyInfo (RFC 5280 §4.1), a file each.
func pemFiles(keys certificate.Keyring) (files []File, err error) {
	for _, k := range keys {
		text, err := pemText(k)
		if err != nil {
			return nil, err
		}
		files = append(files, File{fmt.Sprintf("pem/%X.pem", k.Key.Fingerprint()), text})
	}
	return files, nil
}
