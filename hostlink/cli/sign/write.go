package sign

import (
	"os"
	"path/filepath"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/cli/hashing"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
)

// roomPerFile is more than a signature and its proof take on disk together.
const roomPerFile = 128 << 10

// checkOutputs finds out, before anybody is asked to sign, whether the results
// can be written beside the files: permission, room, and nothing in the way.
func checkOutputs(paths []string, format sigformat.Format) error {
	room := int64(roomPerFile)
	if format.Cleartext() || format.Enclosed() {
		room += openpgp.MaxSignatureFile
	}
	dirs := map[string]int{}
	for _, p := range paths {
		dirs[filepath.Dir(p)]++
		for _, s := range []string{output.SignatureSuffix, output.TextSuffix, output.ProofSuffix} {
			st, err := os.Lstat(p + s)
			if err == nil && !st.Mode().IsRegular() {
				return api.Errorf(api.CannotWrite, "%s is in the way and not a regular file: move it away", p+s)
			}
		}
	}
	for dir, n := range dirs {
		if err := output.CheckRoom(dir, int64(n)*room); err != nil {
			return api.Errorf(api.CannotWrite, "cannot write signatures in %s: %w", dir, err)
		}
	}
	return nil
}

// form is how a signature is written, where its format leaves a choice.
type form struct {
	armor   bool // OpenPGP: as text
	inPlace bool // one that stands in a file with what it is over: into the file that was signed
}

// signatureFile is what is written of a key's signature over h. One that stands
// in a file with what it is over is put into what the file holds now, if that
// still is what was signed.
func signatureFile(h *hashing.File, k *signing.Key, sig []byte, as form) (*output.File, error) {
	switch {
	case h.Format.Enclosed() || h.Format.Cleartext():
		return wholeFile(h, k, sig, as.inPlace)
	case h.Format.Family == sigformat.FamilyOpenPGP && as.armor:
		return &output.File{Path: h.Path + output.TextSuffix, Data: openpgp.ArmorSignature(sig)}, nil
	}
	return &output.File{Path: h.Path + output.SignatureSuffix, Data: sig}, nil
}

func wholeFile(h *hashing.File, k *signing.Key, sig []byte, inPlace bool) (*output.File, error) {
	content, err := h.Again()
	if err != nil {
		return nil, err
	}
	o := &output.File{Path: h.Path + output.TextSuffix}
	if h.Format.Enclosed() {
		if o.Path = h.Path + output.SignatureSuffix; inPlace {
			o.Path = h.Path
		}
		o.Data, err = h.Format.Enclose(k, content, sig)
	} else {
		o.Data, err = openpgp.Clearsign(content, sig)
	}
	if err != nil {
		return nil, api.Errorf(api.Evidence, "%w", err)
	}
	return o, nil
}
