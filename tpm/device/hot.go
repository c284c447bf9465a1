package device

import (
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"touchmark/tpm/quote"
)

// ExtendHead is TPM2_NV_Extend: HEAD becomes SHA-256(HEAD ‖ x), in flash when
// it returns. One command.
func (t *TPM) ExtendHead(x [32]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	response, err := t.wire.Send(nvExtend(t.cfg.Head, x))
	if err != nil {
		return err
	}
	if rc := tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])); rc != tpm2.TPMRCSuccess {
		return explain(tpmccNVExtend, rc, ErrNoHead, ErrNoHead)
	}
	return nil
}

// nvExtend is the TPM2_NV_Extend command (Part 3, "TPM2_NV_Extend"), which
// go-tpm lacks: the index authorizes itself with its empty password.
func nvExtend(index uint32, x [32]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMSTSessions))
	b = append(b, 0, 0, 0, 0) // size, below
	b = binary.BigEndian.AppendUint32(b, uint32(tpmccNVExtend))
	b = binary.BigEndian.AppendUint32(b, index) // authHandle
	b = binary.BigEndian.AppendUint32(b, index) // nvIndex
	b = binary.BigEndian.AppendUint32(b, 9)     // size of the authorization area
	b = binary.BigEndian.AppendUint32(b, uint32(tpm2.TPMRSPW))
	b = append(b, 0, 0, 1, 0, 0) // no nonce, continueSession, empty password
	b = binary.BigEndian.AppendUint16(b, uint16(len(x)))
	b = append(b, x[:]...)
	binary.BigEndian.PutUint32(b[2:], uint32(len(b)))
	return b
}

// ExtendPCR is TPM2_PCR_Extend of the SHA-256 bank only: the PCR becomes
// SHA-256(PCR ‖ x). One command.
func (t *TPM) ExtendPCR(x [32]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(t.cfg.PCR), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: x[:]},
		}},
	}.Execute(t.wire)
	return explain(tpm2.TPMCCPCRExtend, err)
}

// CertifyHead is TPM2_NV_Certify of the whole of HEAD by the AK with extra as
// qualifyingData. One command. The result is not verified here.
func (t *TPM) CertifyHead(extra [32]byte) (quote.Attestation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rsp, err := tpm2.NVCertify{
		SignHandle:     t.ak(),
		AuthHandle:     t.head(),
		NVIndex:        tpm2.NamedHandle{Handle: tpm2.TPMHandle(t.cfg.Head), Name: unsentName},
		QualifyingData: tpm2.TPM2BData{Buffer: extra[:]},
		InScheme:       schemeOfKey,
		Size:           quote.HeadSize,
	}.Execute(t.wire)
	if err != nil {
		return quote.Attestation{}, explain(tpm2.TPMCCNVCertify, err, ErrNoAK, ErrNoHead, ErrNoHead)
	}
	return attestation(&rsp.CertifyInfo, rsp.Signature)
}

// QuotePCR is TPM2_Quote of the PCR by the AK with extra as qualifyingData.
// One command. The result is not verified here.
func (t *TPM) QuotePCR(extra [32]byte) (quote.Attestation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rsp, err := tpm2.Quote{
		SignHandle:     t.ak(),
		QualifyingData: tpm2.TPM2BData{Buffer: extra[:]},
		InScheme:       schemeOfKey,
		PCRSelect:      t.selection(),
	}.Execute(t.wire)
	if err != nil {
		return quote.Attestation{}, explain(tpm2.TPMCCQuote, err, ErrNoAK)
	}
	return attestation(&rsp.Quoted, rsp.Signature)
}

// schemeOfKey is TPM_ALG_NULL, spelled out because go-tpm would send 0: the
// key's own scheme signs.
var schemeOfKey = tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}

// unsentName satisfies go-tpm, which wants the Name of each handle. Names
// enter a command only through HMAC sessions; with passwords they are unused,
// and asking the TPM for them would be a second command.
var unsentName = tpm2.TPM2BName{Buffer: []byte{0}}

func (t *TPM) ak() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMHandle(t.cfg.AK), Name: unsentName, Auth: tpm2.PasswordAuth(nil)}
}

func (t *TPM) head() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMHandle(t.cfg.Head), Name: unsentName, Auth: tpm2.PasswordAuth(nil)}
}

func (t *TPM) selection() tpm2.TPMLPCRSelection {
	bits := make([]byte, 3)
	bits[t.cfg.PCR/8] = 1 << (t.cfg.PCR % 8)
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bits}}}
}

// attestation copies the signed bytes as the TPM sent them; marshalling the
// parsed structure again could change them.
func attestation(attest *tpm2.TPM2BAttest, sig tpm2.TPMTSignature) (quote.Attestation, error) {
	a := quote.Attestation{Attest: append([]byte(nil), attest.Bytes()...), Sig: tpm2.Marshal(sig)}
	if len(a.Attest) > quote.MaxAttest || len(a.Sig) > quote.MaxSignature {
		return quote.Attestation{}, fmt.Errorf("tpm: attestation of %d + %d bytes is over the limits", len(a.Attest), len(a.Sig))
	}
	return a, nil
}
