package verify

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
)

// File is what a signature file holds.
type File struct {
	Signature []byte // as the appliance made it
	Format    sigformat.Format
	Alg       message.Alg // with which it was made

	whole bool   // the file holds what is signed too:
	text  []byte // this, as a file to be hashed by the format
}

// OpenFile takes a signature file apart, of the item of this name. Only OpenPGP says in
// itself what it is; of others the item does for which the intent announced it. Nothing
// is checked yet: that is Check, with the hash of the file that was signed.
func (in *Intent) OpenFile(name string, content []byte) (*File, error) {
	it := in.Item(name)
	format, known := sigformat.FormatOf(it.Format)
	switch {
	case known && format.Enclosed():
		_, sig, err := format.OpenEnclosed(in.Signer(), content)
		return &File{sig, format, it.Digest.Alg, true, content}, err
	case known && format.Family != sigformat.FamilyOpenPGP:
		return &File{Signature: content, Format: format, Alg: it.Digest.Alg}, nil
	}
	f, err := openpgp.ReadSignatureFile(content)
	if err != nil {
		return nil, err
	}
	format, s, err := sigformat.FileFormat(f)
	if err != nil {
		return nil, err
	}
	return &File{f.Packet, format, s.Alg, f.Clear, f.Text}, nil
}

// Agrees reports whether a signature file that holds what is signed holds a file of
// this state; of one that holds nothing but the signature it always is true.
func (f *File) Agrees(s hashstate.State) bool {
	if !f.whole {
		return true
	}
	own, err := f.Format.Digest(f.Alg, bytes.NewReader(f.text))
	return err == nil && own == s
}

// Spoilt says what became of the key of a good signature, as far as the trust file
// tells; empty if nothing did. It changes no verdict: what the log says of the
// signature holds, and whether it still counts is for its reader to decide.
func (f *Facts) Spoilt(now time.Time) string {
	switch err := f.Cert.Usable(now); {
	case err == nil:
		return ""
	case errors.Is(err, certificate.ErrExpired) && f.Created.Before(f.Cert.Expires):
		return "" // it was made in time
	}
	return fmt.Sprintf("key %X is %s", f.Key, f.Cert.Standing(now))
}
