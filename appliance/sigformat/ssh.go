package sigformat

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

	"touchmark/hostlink/message"
)

// What an SSH signature is made of (OpenSSH's PROTOCOL.sshsig).
const (
	sshMagic   = "SSHSIG"
	sshVersion = 1
	sshBegin   = "-----BEGIN SSH SIGNATURE-----\n"
	sshEnd     = "-----END SSH SIGNATURE-----\n"
	sshColumns = 70 // of base64, as ssh-keygen writes it
)

// sshHashes are the hashes of messages that ssh-keygen accepts.
var sshHashes = map[message.Alg]string{message.SHA256: "sha256", message.SHA512: "sha512"}

// sshKey is how a key and its signatures look in SSH (RFC 4253 §6.6, RFC 5656
// §3.1, RFC 8332, RFC 8709).
type sshKey struct {
	public    []byte      // the public key as a blob
	algorithm string      // of its signatures
	alg       message.Alg // the hash in them
}

func (k *Key) ssh() sshKey {
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		b := sshString(nil, "ssh-rsa")
		b = sshInteger(b, []byte{1, 0, 1})
		return sshKey{sshInteger(b, pub.N.Bytes()), "rsa-sha2-512", message.SHA512}
	case ed25519.PublicKey:
		b := sshString(nil, "ssh-ed25519")
		return sshKey{sshString(b, string(pub)), "ssh-ed25519", message.SHA512}
	case *ecdsa.PublicKey:
		curve, alg := "nistp256", message.SHA256
		if k.name == "p384" {
			curve, alg = "nistp384", message.SHA384
		}
		point, err := pub.Bytes()
		if err != nil {
			panic("sigformat: a key whose point was encoded before is no more on its curve")
		}
		name := "ecdsa-sha2-" + curve
		b := sshString(sshString(nil, name), curve)
		return sshKey{sshString(b, string(point)), name, alg}
	}
	panic("sigformat: a key of no type")
}

// SSHPublic is the key in one line, as authorized_keys and allowed_signers have
// it behind the name: type and base64.
func (k *Key) SSHPublic() string {
	public := k.ssh().public
	n := binary.BigEndian.Uint32(public)
	return string(public[4:4+n]) + " " + base64.StdEncoding.EncodeToString(public)
}

func sshString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// sshInteger adds a positive integer (RFC 4251 §5, mpint).
func sshInteger(b, v []byte) []byte {
	v = bytes.TrimLeft(v, "\x00")
	if len(v) > 0 && v[0]&0x80 != 0 {
		v = append([]byte{0}, v...)
	}
	return sshString(b, string(v))
}

func cutSSHString(b []byte) (s, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errSSH
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return nil, nil, errSSH
	}
	return b[:n], b[n:], nil
}

var errSSH = errors.New("not an SSH signature in the form of the profile")

// planSSH plans an SSH signature: what the key signs is a text that names the
// namespace and the digest of the file, so no other protocol's.
func (f Format) planSSH(k *Key, file message.Digest) *Plan {
	form := k.ssh()
	body := sshString(nil, f.label)
	body = sshString(body, "")
	body = sshString(body, sshHashes[file.Alg])
	signed := sshString([]byte(sshMagic+string(body)), string(file.Sum))
	h := NewHasher(form.alg)
	_, _ = h.Write(signed) // a hash never fails
	p := &Plan{Alg: form.alg, Digest: h.State().Digest(), key: k}
	if _, ed := k.Public.(ed25519.PublicKey); ed {
		p.message = signed
	}
	p.seal = func(values [][]byte) []byte {
		b := binary.BigEndian.AppendUint32([]byte(sshMagic), sshVersion)
		b = append(sshString(b, string(form.public)), body...)
		return sshArmor(sshString(b, string(form.signature(k, values))))
	}
	p.open = func(sig []byte) ([][]byte, error) { return form.open(k, sig) }
	return p
}

// signature is the innermost blob: the algorithm and its value.
func (form sshKey) signature(k *Key, values [][]byte) []byte {
	var value []byte
	switch kind := k.kind.(type) {
	case rsaType:
		value = padded(values[0], int(kind)/8)
	case edType:
		value = append(padded(values[0], ed25519.SignatureSize/2), padded(values[1], ed25519.SignatureSize/2)...)
	default:
		value = sshInteger(sshInteger(nil, values[0]), values[1])
	}
	return sshString(sshString(nil, form.algorithm), string(value))
}

// open takes the signature's integers out of an armored one. Nothing else is
// looked at: who opens it makes it again and compares.
func (form sshKey) open(k *Key, sig []byte) ([][]byte, error) {
	b, err := sshDearmor(sig)
	if err != nil {
		return nil, err
	}
	for range 4 { // public key, namespace, reserved, hash
		if _, b, err = cutSSHString(b); err != nil {
			return nil, err
		}
	}
	if b, _, err = cutSSHString(b); err != nil {
		return nil, err
	}
	if _, b, err = cutSSHString(b); err != nil {
		return nil, err
	}
	if b, _, err = cutSSHString(b); err != nil {
		return nil, err
	}
	if _, ec := k.kind.(ecType); !ec {
		return k.kind.split(b)
	}
	return cutSSHIntegers(b)
}

// sshDearmor gives what follows the version.
func sshDearmor(sig []byte) ([]byte, error) {
	text, ok := strings.CutPrefix(string(sig), sshBegin)
	text, _, ended := strings.Cut(text, sshEnd)
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	if !ok || !ended || err != nil || len(b) < len(sshMagic)+4 {
		return nil, errSSH
	}
	return b[len(sshMagic)+4:], nil
}

func cutSSHIntegers(b []byte) (values [][]byte, err error) {
	for range 2 {
		var v []byte
		if v, b, err = cutSSHString(b); err != nil {
			return nil, err
		}
		values = append(values, bytes.TrimLeft(v, "\x00"))
	}
	return values, nil
}

func sshArmor(b []byte) []byte {
	text := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	out.WriteString(sshBegin)
	for len(text) > sshColumns {
		fmt.Fprintln(&out, text[:sshColumns])
		text = text[sshColumns:]
	}
	fmt.Fprintln(&out, text)
	out.WriteString(sshEnd)
	return []byte(out.String())
}

// Made reports whether the key made a signature that is not OpenPGP's, in any
// namespace or for any purpose, over a file with one of these states.
func (k *Key) Made(sig []byte, over []State) bool {
	namespace := sshNamespace(sig)
	for _, s := range over {
		file := message.Digest{Alg: s.alg, Sum: s.Digest()}
		if sshHashes[s.alg] != "" && (Format{Family: FamilySSH, label: namespace}).planSSH(k, file).Verify(sig) == nil || planRaw(k, file).Verify(sig) == nil {
			return true
		}
	}
	return false
}

// sshNamespace is the one that a signature claims.
func sshNamespace(sig []byte) string {
	b, err := sshDearmor(sig)
	if err != nil {
		return ""
	}
	if _, b, err = cutSSHString(b); err != nil {
		return ""
	}
	namespace, _, err := cutSSHString(b)
	if err != nil {
		return ""
	}
	return string(namespace)
}
