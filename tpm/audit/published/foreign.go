package published

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"slices"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
)

// Whoever has a token sign around the log need not write the packet as the board
// does: gpg and its like read far more than our profile. So a file that is not one
// signature of the profile is searched for packets, as widely as those programs read,
// that name a key of the log.

// Apart takes a file with several signatures apart into files with one, those by keys
// of the log alone. A file with one signature of the log's form, and one in which no key
// of the log is named, is given as it is.
func (r *Repository) Apart(file []byte) [][]byte {
	if _, _, _, err := read(file); err == nil {
		return [][]byte{file}
	}
	var parts [][]byte
	for _, body := range signatures(file) {
		if r.names(body) {
			parts = append(parts, alone(file, body))
		}
	}
	if len(parts) == 0 {
		return [][]byte{file}
	}
	return parts
}

// claims reports whether a file holds a signature that names a key of the log.
func (r *Repository) claims(file []byte) bool {
	return slices.ContainsFunc(signatures(file), r.names)
}

func (r *Repository) names(body []byte) bool {
	issuers := issuersOf(body)
	return slices.ContainsFunc(r.keys, func(c *certificate.Certificate) bool {
		f := c.Key.Fingerprint()
		return slices.ContainsFunc(issuers, func(id []byte) bool { return len(id) >= 8 && bytes.HasSuffix(f[:], id) })
	})
}

// What a text with a signature begins with, and each armored block.
var (
	clearHead  = []byte("-----BEGIN PGP SIGNED MESSAGE-----\n")
	blockStart = []byte("-----BEGIN PGP ")
)

// alone is a file with one of the signatures that were found in a file, as a board would
// have made it.
func alone(file, body []byte) []byte {
	packet := binary.BigEndian.AppendUint16([]byte{0x80 | tagSignature<<2 | 1}, uint16(len(body)))
	if len(body) < 256 {
		packet = []byte{0x80 | tagSignature<<2, byte(len(body))}
	}
	packet = append(packet, body...)
	rest, clear := bytes.CutPrefix(bytes.ReplaceAll(file, []byte("\r\n"), []byte("\n")), clearHead)
	if !clear {
		return packet
	}
	_, text, _ := bytes.Cut(rest, []byte("\n\n"))
	text, _, _ = bytes.Cut(text, blockStart)
	return slices.Concat(clearHead, []byte("Hash: SHA256\n\n"), text, openpgp.ArmorSignature(packet))
}

// signatures finds the bodies of all signatures over documents (types 00 and 01) in a
// file: binary, or in whatever armor there is.
func signatures(file []byte) (bodies [][]byte) {
	streams := [][]byte{file}
	if len(file) == 0 || file[0] < 0x80 {
		streams = dearmored(file)
	}
	for _, b := range streams {
		for tag, body, rest, ok := packet(b); ok; tag, body, rest, ok = packet(rest) {
			if kind := kindOf(body); tag == tagSignature && len(body) < 1<<16 && (kind == 0 || kind == 1) {
				bodies = append(bodies, body)
			}
		}
	}
	return bodies
}

// dearmored decodes every armored block of a text, its headers and checksum aside; of a
// block that is no base64 from somewhere on, what comes before that.
func dearmored(text []byte) (blocks [][]byte) {
	parts := bytes.Split(bytes.ReplaceAll(text, []byte("\r"), nil), blockStart)
	for _, part := range parts[1:] {
		part, _, _ = bytes.Cut(part, []byte("-----END"))
		var base []byte
		for i, line := range bytes.Split(part, []byte("\n")) {
			line = bytes.TrimSpace(line)
			if i == 0 || bytes.Contains(line, []byte(":")) || bytes.HasPrefix(line, []byte("=")) {
				continue
			}
			base = append(base, line...)
		}
		b := make([]byte, base64.StdEncoding.DecodedLen(len(base)))
		n, _ := base64.StdEncoding.Decode(b, base) // what is no base64 ends it
		blocks = append(blocks, b[:n])
	}
	return blocks
}

// kindOf is the type of a signature, 0xff if it says none.
func kindOf(body []byte) byte {
	switch {
	case len(body) >= 19 && body[0] <= 3: // RFC 4880 §5.2.2
		return body[2]
	case len(body) >= 6 && body[0] > 3:
		return body[1]
	}
	return 0xff
}

// Subpackets that say who signed, RFC 9580 §5.2.3.12, §5.2.3.35.
const (
	subIssuer            = 16
	subIssuerFingerprint = 33
)

// issuersOf are the key ids and fingerprints that a signature names, hashed or not.
func issuersOf(body []byte) (all [][]byte) {
	if body[0] <= 3 {
		return [][]byte{body[7:15]}
	}
	wide := 2
	if body[0] == 6 {
		wide = 4
	}
	rest := body[4:]
	for range 2 { // hashed, not hashed
		n := wide
		if len(rest) < wide {
			break
		}
		for i, x := range rest[:wide] {
			n += int(x) << (8 * (wide - 1 - i))
		}
		n = min(n, len(rest))
		all = append(all, issuersIn(rest[wide:n])...)
		rest = rest[n:]
	}
	return all
}

func issuersIn(area []byte) (all [][]byte) {
	for {
		kind, value, rest := subpacket(area)
		switch {
		case rest == nil:
			return all
		case kind == subIssuer:
			all = append(all, value)
		case kind == subIssuerFingerprint && len(value) > 0:
			all = append(all, value[1:])
		}
		area = rest
	}
}

// subpacket takes one off an area (RFC 9580 §5.2.3.7); rest is nil if there is none.
func subpacket(b []byte) (kind byte, value, rest []byte) {
	n, width := int64(-1), 1
	switch {
	case len(b) == 0:
	case b[0] < 192:
		n = int64(b[0])
	case b[0] < 255:
		n, width = (int64(b[0])-192)<<8+number(b[1:], 1)+192, 2
	default:
		n, width = number(b[1:], 4), 5
	}
	if n < 1 || n > int64(len(b)-width) {
		return 0, nil, nil
	}
	return b[width] & 0x7f, b[width+1 : width+int(n)], b[width+int(n):]
}
