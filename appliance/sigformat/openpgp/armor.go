package openpgp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"touchmark/hostlink/message"
)

// What armored blocks are called (RFC 9580 §6.2.1).
const (
	blockKey       = "PGP PUBLIC KEY BLOCK"
	blockSignature = "PGP SIGNATURE"
	clearHead      = "-----BEGIN PGP SIGNED MESSAGE-----\n"
)

// hashNames are the hash algorithms in the "Hash" header of a cleartext
// signature (RFC 9580 §9.5).
var hashNames = map[message.Alg]string{message.SHA256: "SHA256", message.SHA384: "SHA384", message.SHA512: "SHA512"}

// Armor encodes a binary certificate as ASCII armor (RFC 9580 §6.2) with the
// checksum that older tools expect.
func Armor(cert []byte) []byte { return armor(blockKey, cert) }

// ArmorSignature does so for a signature packet.
func ArmorSignature(sig []byte) []byte { return armor(blockSignature, sig) }

func armor(block string, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("-----BEGIN " + block + "-----\n\n")
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 64 {
		b.WriteString(text[:64] + "\n")
		text = text[64:]
	}
	b.WriteString(text + "\n=")
	b.WriteString(base64.StdEncoding.EncodeToString(crc24(data)))
	b.WriteString("\n-----END " + block + "-----\n")
	return b.Bytes()
}

// crc24 is the armor checksum of RFC 9580 §6.1.1.
func crc24(data []byte) []byte {
	crc := uint32(0xb704ce)
	for _, c := range data {
		crc ^= uint32(c) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return []byte{byte(crc >> 16), byte(crc >> 8), byte(crc)}
}

// Dearmor undoes Armor; a text that is not one such block is an error.
func Dearmor(text []byte) ([]byte, error) { return dearmor(blockKey, string(text)) }

// dearmor undoes the armor of a block, which is all there is in the text.
// Headers and checksum are not looked at: what is in it is verified.
func dearmor(block, text string) ([]byte, error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	body, ok := strings.CutPrefix(text, "-----BEGIN "+block+"-----\n")
	body, rest, ended := strings.Cut(body, "\n-----END "+block+"-----")
	if !ok || !ended || strings.Trim(rest, "\n") != "" {
		return nil, fmt.Errorf("not one armored %s", block)
	}
	if empty, found := strings.CutPrefix(body, "\n"); found {
		body = empty
	} else if _, behind, headers := strings.Cut(body, "\n\n"); headers {
		body = behind
	}
	if i := strings.LastIndex(body, "\n="); i >= 0 && len(body)-i == len("\n=abcd") {
		body = body[:i]
	}
	return base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
}

// Clearsign puts a text and its signature of the format openpgp-cleartext into
// one file (RFC 9580 §7), with LF at the ends of its lines. It refuses what is no text
// for that: another CR, which a reader of the file could take for a line's end.
func Clearsign(document, sig []byte) ([]byte, error) {
	s, err := ParseSignature(sig)
	if err != nil {
		return nil, err
	}
	if !s.Text {
		return nil, errors.New("openpgp signature: not over text")
	}
	var b bytes.Buffer
	b.WriteString(clearHead + "Hash: " + hashNames[s.Alg] + "\n\n")
	for line := range bytes.Lines(document) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\r\n")), []byte("\n"))
		if bytes.IndexByte(line, '\r') >= 0 {
			return nil, errors.New("openpgp signature: a text with a CR that is not before a LF")
		}
		if bytes.HasPrefix(line, []byte("-")) {
			b.WriteString("- ")
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	b.Write(ArmorSignature(sig))
	return b.Bytes(), nil
}

// SignatureFile is what a file with a signature holds.
type SignatureFile struct {
	Packet []byte // the signature, for ParseSignature
	Clear  bool   // it stands below its text
	Text   []byte // that text, without dashes that were put before it
}

// Signature is the signature in such a file, not verified. One over bytes is none of a
// text.
func (f *SignatureFile) Signature() (*Signature, error) {
	s, err := ParseSignature(f.Packet)
	if err == nil && f.Clear && !s.Text {
		err = errors.New("a signature over bytes stands below a text")
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ReadSignatureFile takes a file with one signature apart: binary, armored, or
// below its text. A text with anything before or behind it that the signature
// does not cover is refused.
func ReadSignatureFile(content []byte) (*SignatureFile, error) {
	if rest, ok := bytes.CutPrefix(content, []byte(clearHead)); ok {
		return readClear(string(rest))
	}
	if !bytes.HasPrefix(content, []byte("-----BEGIN ")) {
		return &SignatureFile{Packet: content}, nil
	}
	packet, err := dearmor(blockSignature, string(content))
	if err != nil {
		return nil, err
	}
	return &SignatureFile{Packet: packet}, nil
}

// readClear reads what follows the first line.
func readClear(rest string) (*SignatureFile, error) {
	head, rest, ok := strings.Cut(rest, "\n\n")
	if name, found := strings.CutPrefix(head, "Hash: "); !ok || !found || strings.ContainsAny(name, ",\n") {
		return nil, errors.New("a text with a signature needs one header line, \"Hash: \" and a hash, and an empty line")
	}
	i := strings.Index("\n"+rest, "\n-----BEGIN "+blockSignature+"-----\n")
	if i < 0 {
		return nil, errors.New("there is no signature below the text")
	}
	f := &SignatureFile{Clear: true}
	n := 0
	for line := range strings.Lines(rest[:i]) {
		n++
		escaped, dash := strings.CutPrefix(line, "- ")
		if !dash && strings.HasPrefix(line, "-") {
			return nil, fmt.Errorf("line %d of the text begins with a dash that is not escaped", n)
		}
		f.Text = append(f.Text, escaped...)
	}
	var err error
	f.Packet, err = dearmor(blockSignature, rest[i:])
	return f, err
}
