package published

import (
	"bytes"
	"encoding/base64"
	"errors"
	"path"
	"strings"

	"touchmark/appliance/sigformat"
)

// suffixes of files that hold detached signatures.
var suffixes = []string{".sig", ".asc", ".gpg", ".sign"}

// Covers names the file that a signature file is over, by its name as
// repositories give them: FILE.sig, FILE.asc, FILE.gpg, FILE.sign. ok is false
// for a name of another kind. InRelease is over itself.
func Covers(name string) (file string, ok bool) {
	if path.Base(name) == "InRelease" {
		return name, true
	}
	for _, s := range suffixes {
		if base, found := strings.CutSuffix(name, s); found && base != "" && !strings.HasSuffix(base, "/") {
			return base, true
		}
	}
	return "", false
}

// errClear says that a signature is over the text that it stands in.
var errClear = errors.New("a clear-signed text: this version's appliances sign files, so no log has its intent")

// read takes the one signature packet out of a signature file, armoured or
// not.
func read(content []byte) (*sigformat.Signature, []byte, error) {
	if bytes.HasPrefix(content, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return nil, nil, errClear
	}
	raw := content
	if bytes.HasPrefix(content, []byte("-----BEGIN PGP ")) {
		var err error
		if raw, err = dearmor(content); err != nil {
			return nil, nil, err
		}
	}
	s, err := sigformat.ParseSignature(raw)
	return s, raw, err
}

// dearmor undoes ASCII armor (RFC 9580 section 6.2) of a signature. The
// checksum is not looked at: the signature is verified.
func dearmor(text []byte) ([]byte, error) {
	const begin, end = "-----BEGIN PGP SIGNATURE-----\n", "\n-----END PGP SIGNATURE-----"
	s := strings.ReplaceAll(string(text), "\r\n", "\n")
	_, body, ok := strings.Cut(s, begin)
	body, _, ok2 := strings.Cut(body, end)
	if !ok || !ok2 {
		return nil, errors.New("not an armoured signature")
	}
	if strings.HasPrefix(body, "\n") {
		body = body[1:]
	} else if _, rest, headers := strings.Cut(body, "\n\n"); headers {
		body = rest
	}
	if i := strings.LastIndex(body, "\n="); i >= 0 && len(body)-i == len("\n=abcd") {
		body = body[:i]
	}
	return base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
}
