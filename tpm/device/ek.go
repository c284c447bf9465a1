package device

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// endorsement says where the certificates of the two endorsement keys of low
// range are and how the TPM makes these keys again (TCG EK Credential Profile,
// §2.2.1.4 and annex B.3). The first is preferred: RSA keys take a TPM long.
var endorsement = []struct {
	index    tpm2.TPMHandle
	template tpm2.TPMTPublic
}{
	{0x01c0000a, tpm2.ECCEKTemplate}, // L-2: P-256
	{0x01c00002, tpm2.RSAEKTemplate}, // L-1: RSA-2048
}

// rsaSecretSize is the size of a seed encrypted to an RSA-2048 key, which no
// seed for a P-256 key has.
const rsaSecretSize = 256

// ForeignEKError says that an EK certificate in the TPM's memory is not for
// the key that the TPM makes from the default template.
type ForeignEKError struct{ Index uint32 }

func (e *ForeignEKError) Error() string {
	return fmt.Sprintf("tpm: the EK certificate at %#08x is for another key than the TPM makes from the default template (TCG EK Credential Profile, L-1, L-2)", e.Index)
}

// EK gives the certificate (X.509 DER) of the TPM's endorsement key, as its
// maker wrote it into NV memory, and nil if there is none. The TPM makes the
// key again, so that no certificate of another one is handed on. auth is that
// of the endorsement hierarchy, nil for empty.
func (t *TPM) EK(auth []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var refused []error
	for i, e := range endorsement {
		der, err := t.readNV(e.index)
		if err != nil {
			return nil, err
		}
		if der == nil {
			continue
		}
		err = t.isEK(i, der, auth)
		var foreign *ForeignEKError
		if err == nil || !errors.As(err, &foreign) {
			return der, err
		}
		refused = append(refused, err)
	}
	return nil, errors.Join(refused...)
}

// readNV reads a certificate from an NV index, without what fills the index up
// behind it; nil if there is no such index.
func (t *TPM) readNV(index tpm2.TPMHandle) ([]byte, error) {
	errNone := errors.New("no such index")
	rsp, err := tpm2.NVReadPublic{NVIndex: index}.Execute(t.wire)
	if err = explain(tpm2.TPMCCNVReadPublic, err, errNone); errors.Is(err, errNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		return nil, &LinkError{Command: commandName(tpm2.TPMCCNVReadPublic), Err: err}
	}
	if public.DataSize > maxCertificate {
		return nil, fmt.Errorf("tpm: NV index %#08x has %d bytes, an EK certificate at most %d", uint32(index), public.DataSize, maxCertificate)
	}
	var data []byte
	for left := public.DataSize; left > 0; left = public.DataSize - uint16(len(data)) {
		part, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: index, Name: unsentName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: unsentName},
			Size:       min(left, nvChunk),
			Offset:     uint16(len(data)),
		}.Execute(t.wire)
		if err != nil {
			return nil, explain(tpm2.TPMCCNVRead, err)
		}
		if len(part.Data.Buffer) != int(min(left, nvChunk)) {
			return nil, &LinkError{Command: commandName(tpm2.TPMCCNVRead), Err: errors.New("another number of bytes than asked for")}
		}
		data = append(data, part.Data.Buffer...)
	}
	return trimCertificate(index, data)
}

// trimCertificate drops what is behind the one DER value.
func trimCertificate(index tpm2.TPMHandle, data []byte) ([]byte, error) {
	var der asn1.RawValue
	if _, err := asn1.Unmarshal(data, &der); err != nil {
		return nil, fmt.Errorf("tpm: NV index %#08x holds no EK certificate: %w", uint32(index), err)
	}
	return bytes.Clone(der.FullBytes), nil
}

// isEK makes an endorsement key and compares it with its certificate.
func (t *TPM) isEK(which int, der, auth []byte) (err error) {
	foreign := &ForeignEKError{Index: uint32(endorsement[which].index)}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("%w: %w", foreign, err)
	}
	ek, err := t.makeEK(which, auth)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.flush(ek.ObjectHandle)) }()
	public, err := ekKey(ek)
	if err != nil {
		return err
	}
	if !public.Equal(cert.PublicKey) {
		return foreign
	}
	return nil
}

func (t *TPM) makeEK(which int, auth []byte) (*tpm2.CreatePrimaryResponse, error) {
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(auth)},
		InPublic:      tpm2.New2B(endorsement[which].template),
	}.Execute(t.wire)
	return rsp, locked(explain(tpm2.TPMCCCreatePrimary, err))
}

// locked explains the answer to a wrong authorization of the endorsement
// hierarchy, the only one that is used here beside empty ones.
func locked(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w (%w)", ErrEndorsementLocked, err)
	}
	return err
}

// publicKey is what crypto's public keys have in common.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// ekKey is the public key of an endorsement key that the TPM made.
func ekKey(ek *tpm2.CreatePrimaryResponse) (publicKey, error) {
	malformed := func(err error) error { return &LinkError{Command: commandName(tpm2.TPMCCCreatePrimary), Err: err} }
	public, err := ek.OutPublic.Contents()
	if err != nil {
		return nil, malformed(err)
	}
	if public.Type == tpm2.TPMAlgRSA {
		n, err := public.Unique.RSA()
		if err != nil {
			return nil, malformed(err)
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n.Buffer), E: 65537}, nil
	}
	point, err := public.Unique.ECC()
	if err != nil {
		return nil, malformed(err)
	}
	if len(point.X.Buffer) > 32 || len(point.Y.Buffer) > 32 {
		return nil, malformed(errors.New("a point with coordinates of more than 32 bytes"))
	}
	raw := make([]byte, 65)
	raw[0] = 4 // uncompressed (SEC 1, §2.3.3)
	copy(raw[33-len(point.X.Buffer):33], point.X.Buffer)
	copy(raw[65-len(point.Y.Buffer):], point.Y.Buffer)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		return nil, malformed(err)
	}
	return key, nil
}

// Activate is TPM2_ActivateCredential: the secret that somebody encrypted for
// the one TPM that holds both an endorsement key and this AK. blob is the
// TPMS_ID_OBJECT, seed the encrypted seed, both without their sizes; which of
// the two endorsement keys it is for, the seed's size tells. auth is that of
// the endorsement hierarchy, nil for empty. A credential for another key than
// these is ErrCredential.
func (t *TPM) Activate(blob, seed, auth []byte) (secret []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ak, err := t.readAK()
	if err != nil {
		return nil, err
	}
	which := 0
	if len(seed) == rsaSecretSize {
		which = 1
	}
	ek, err := t.makeEK(which, auth)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.flush(ek.ObjectHandle)) }()
	rsp, err := tpm2.ActivateCredential{
		ActivateHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(t.cfg.AK), Name: tpm2.TPM2BName{Buffer: ak.Name()}, Auth: tpm2.PasswordAuth(nil)},
		KeyHandle:      tpm2.AuthHandle{Handle: ek.ObjectHandle, Name: ek.Name, Auth: ekPolicy(auth)},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: blob},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: seed},
	}.Execute(t.wire)
	if err != nil {
		return nil, credential(explain(tpm2.TPMCCActivateCredential, err))
	}
	return bytes.Clone(rsp.CertInfo.Buffer), nil
}

// ekPolicy satisfies the policy of the default templates: whoever knows the
// endorsement hierarchy's authorization may use the key.
func ekPolicy(auth []byte) tpm2.Session {
	return tpm2.Policy(tpm2.TPMAlgSHA256, 16, tpm2.PolicyCallback(func(w transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Name: tpm2.HandleName(tpm2.TPMRHEndorsement), Auth: tpm2.PasswordAuth(auth)},
			PolicySession: session,
			NonceTPM:      nonce,
		}.Execute(w)
		return err
	}))
}

// credential explains the refusal of a credential: the TPM finds out by an
// integrity value or a size (Part 3, TPM2_ActivateCredential).
func credential(err error) error {
	var command *CommandError
	if !errors.As(err, &command) {
		return err
	}
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCIntegrity, tpm2.TPMRCValue, tpm2.TPMRCSize, tpm2.TPMRCECCPoint} {
		if errors.Is(command.RC, rc) {
			return fmt.Errorf("%w (%w)", ErrCredential, err)
		}
	}
	return err
}

func (t *TPM) flush(h tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: h}.Execute(t.wire)
	return explain(tpm2.TPMCCFlushContext, err)
}
