// Package sshsig makes and checks SSH signatures (OpenSSH's PROTOCOL.sshsig) over files, as
// "ssh-keygen -Y verify" takes them, and writes public keys as SSH has them. Exactly one
// serialisation exists for given facts, and nothing else verifies. The package is pure.
package sshsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

// What an SSH signature is made of (OpenSSH's PROTOCOL.sshsig).
const (
	magic   = "SSHSIG"
	version = 1
	begin   = "-----BEGIN SSH SIGNATURE-----\n"
	end     = "-----END SSH SIGNATURE-----\n"
	columns = 70 // of base64, as ssh-keygen writes it
)

// hashes are the hashes of messages that ssh-keygen accepts.
var hashes = map[message.Alg]string{message.SHA256: "sha256", message.SHA512: "sha512"}

// Takes reports whether SSH signatures are over files hashed with alg.
func Takes(alg message.Alg) bool { return hashes[alg] != "" }

// form is how a key and its signatures look in SSH (RFC 4253 §6.6, RFC 5656
// §3.1, RFC 8332, RFC 8709).
type form struct {
	public    []byte      // the public key as a blob
	algorithm string      // of its signatures
	alg       message.Alg // the hash in them
}

func formOf(k *signing.Key) form {
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		b := appendString(nil, "ssh-rsa")
		b = appendInteger(b, []byte{1, 0, 1})
		return form{appendInteger(b, pub.N.Bytes()), "rsa-sha2-512", message.SHA512}
	case ed25519.PublicKey:
		b := appendString(nil, "ssh-ed25519")
		return form{appendString(b, string(pub)), "ssh-ed25519", message.SHA512}
	case *ecdsa.PublicKey:
		curve, alg := "nistp256", message.SHA256
		if k.Algorithm() == "p384" {
			curve, alg = "nistp384", message.SHA384
		}
		point, err := pub.Bytes()
		if err != nil {
			panic("sshsig: a key whose point was encoded before is no more on its curve")
		}
		name := "ecdsa-sha2-" + curve
		b := appendString(appendString(nil, name), curve)
		return form{appendString(b, string(point)), name, alg}
	}
	panic("sshsig: a key of no type")
}

// Public is the key in one line, as authorized_keys and allowed_signers have
// it behind the name: type and base64.
func Public(k *signing.Key) string {
	public := formOf(k).public
	n := binary.BigEndian.Uint32(public)
	return string(public[4:4+n]) + " " + base64.StdEncoding.EncodeToString(public)
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendInteger adds a positive integer (RFC 4251 §5, mpint).
func appendInteger(b, v []byte) []byte {
	v = bytes.TrimLeft(v, "\x00")
	if len(v) > 0 && v[0]&0x80 != 0 {
		v = append([]byte{0}, v...)
	}
	return appendString(b, string(v))
}

func cutString(b []byte) (s, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errForm
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return nil, nil, errForm
	}
	return b[:n], b[n:], nil
}

var errForm = errors.New("not an SSH signature in the form of the profile")

// Plan plans an SSH signature over a file of this digest, whose algorithm SSH takes: what
// the key signs is a text that names the namespace and the digest, so no other protocol's.
func Plan(k *signing.Key, namespace string, file message.Digest) *signing.Plan {
	f := formOf(k)
	body := appendString(nil, namespace)
	body = appendString(body, "")
	body = appendString(body, hashes[file.Alg])
	signed := appendString([]byte(magic+string(body)), string(file.Sum))
	h := f.alg.Hash().New()
	h.Write(signed)
	p := &signing.Plan{Alg: f.alg, Digest: h.Sum(nil), Key: k}
	if _, ed := k.Public.(ed25519.PublicKey); ed {
		p.Message = signed
	}
	p.Seal = func(values [][]byte) []byte {
		b := binary.BigEndian.AppendUint32([]byte(magic), version)
		b = append(appendString(b, string(f.public)), body...)
		return armor(appendString(b, string(f.signature(k, values))))
	}
	p.Open = func(sig []byte) ([][]byte, error) { return open(k, sig) }
	return p
}

// signature is the innermost blob: the algorithm and its value.
func (f form) signature(k *signing.Key, values [][]byte) []byte {
	_, size := k.Shape()
	var value []byte
	switch k.Public.(type) {
	case *rsa.PublicKey:
		value = signing.Pad(values[0], size)
	case ed25519.PublicKey:
		value = append(signing.Pad(values[0], size), signing.Pad(values[1], size)...)
	default:
		value = appendInteger(appendInteger(nil, values[0]), values[1])
	}
	return appendString(appendString(nil, f.algorithm), string(value))
}

// open takes the signature's integers out of an armored one. Nothing else is
// looked at: who opens it makes it again and compares.
func open(k *signing.Key, sig []byte) ([][]byte, error) {
	b, err := dearmor(sig)
	if err != nil {
		return nil, err
	}
	for range 4 { // public key, namespace, reserved, hash
		if _, b, err = cutString(b); err != nil {
			return nil, err
		}
	}
	if b, _, err = cutString(b); err != nil {
		return nil, err
	}
	if _, b, err = cutString(b); err != nil {
		return nil, err
	}
	if b, _, err = cutString(b); err != nil {
		return nil, err
	}
	if _, ec := k.Public.(*ecdsa.PublicKey); !ec {
		return k.Split(b)
	}
	return cutIntegers(b)
}

// dearmor gives what follows the version.
func dearmor(sig []byte) ([]byte, error) {
	text, ok := strings.CutPrefix(string(sig), begin)
	text, _, ended := strings.Cut(text, end)
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	if !ok || !ended || err != nil || len(b) < len(magic)+4 {
		return nil, errForm
	}
	return b[len(magic)+4:], nil
}

func cutIntegers(b []byte) (values [][]byte, err error) {
	for range 2 {
		var v []byte
		if v, b, err = cutString(b); err != nil {
			return nil, err
		}
		values = append(values, bytes.TrimLeft(v, "\x00"))
	}
	return values, nil
}

func armor(b []byte) []byte {
	text := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	out.WriteString(begin)
	for len(text) > columns {
		fmt.Fprintln(&out, text[:columns])
		text = text[columns:]
	}
	fmt.Fprintln(&out, text)
	out.WriteString(end)
	return []byte(out.String())
}

// Namespace is the one that a signature claims, empty if it is none.
func Namespace(sig []byte) string {
	b, err := dearmor(sig)
	if err != nil {
		return ""
	}
	if _, b, err = cutString(b); err != nil {
		return ""
	}
	namespace, _, err := cutString(b)
	if err != nil {
		return ""
	}
	return string(namespace)
}
