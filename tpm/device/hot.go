package device

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"touchmark/tpm/quote"
)

// The four commands of a ceremony are built and read here by hand: go-tpm has
// no NV_Extend, wants the Names of handles (each a command more) although
// passwords do not use them, and its reflection costs a third of what swtpm
// needs for the signature. Every handle that needs it authorizes itself with
// its empty password.

// ExtendHead is TPM2_NV_Extend: HEAD becomes SHA-256(HEAD ‖ x), in flash when
// it returns. One command.
func (t *TPM) ExtendHead(x [32]byte) error {
	c := newCommand(tpmccNVExtend, 1, t.cfg.Head, t.cfg.Head)
	c = sized(c, x[:])
	_, err := t.run(tpmccNVExtend, 1, c, ErrNoHead, ErrNoHead)
	return err
}

// ExtendPCR is TPM2_PCR_Extend of the SHA-256 bank only: the PCR becomes
// SHA-256(PCR ‖ x). One command.
func (t *TPM) ExtendPCR(x [32]byte) error {
	c := newCommand(tpm2.TPMCCPCRExtend, 1, uint32(t.cfg.PCR))
	c = binary.BigEndian.AppendUint32(c, 1) // TPML_DIGEST_VALUES of one
	c = binary.BigEndian.AppendUint16(c, uint16(tpm2.TPMAlgSHA256))
	c = append(c, x[:]...)
	_, err := t.run(tpm2.TPMCCPCRExtend, 1, c)
	return err
}

// CertifyHead is TPM2_NV_Certify of the whole of HEAD by the AK with extra as
// qualifyingData. One command. The result is not verified here.
func (t *TPM) CertifyHead(extra [32]byte) (quote.Attestation, error) {
	c := newCommand(tpm2.TPMCCNVCertify, 2, t.cfg.AK, t.cfg.Head, t.cfg.Head)
	c = sized(c, extra[:])
	c = binary.BigEndian.AppendUint16(c, uint16(tpm2.TPMAlgNull)) // inScheme: the key's own
	c = binary.BigEndian.AppendUint16(c, quote.HeadSize)
	c = binary.BigEndian.AppendUint16(c, 0) // offset
	parameters, err := t.run(tpm2.TPMCCNVCertify, 2, c, ErrNoAK, ErrNoHead, ErrNoHead)
	return attestation(tpm2.TPMCCNVCertify, parameters, err)
}

// QuotePCR is TPM2_Quote of the PCR by the AK with extra as qualifyingData.
// One command. The result is not verified here.
func (t *TPM) QuotePCR(extra [32]byte) (quote.Attestation, error) {
	c := newCommand(tpm2.TPMCCQuote, 1, t.cfg.AK)
	c = sized(c, extra[:])
	c = binary.BigEndian.AppendUint16(c, uint16(tpm2.TPMAlgNull)) // inScheme: the key's own
	c = append(c, tpm2.Marshal(t.selection())...)
	parameters, err := t.run(tpm2.TPMCCQuote, 1, c, ErrNoAK)
	return attestation(tpm2.TPMCCQuote, parameters, err)
}

// newCommand begins a command (Part 1, "Command/Response Structure"): header,
// handles, and an authorization area with an empty password for each of the
// first auths handles. run fills in the size.
func newCommand(code tpm2.TPMCC, auths int, handles ...uint32) []byte {
	c := binary.BigEndian.AppendUint16(make([]byte, 0, 128), uint16(tpm2.TPMSTSessions))
	c = binary.BigEndian.AppendUint32(c, 0)
	c = binary.BigEndian.AppendUint32(c, uint32(code))
	for _, h := range handles {
		c = binary.BigEndian.AppendUint32(c, h)
	}
	c = binary.BigEndian.AppendUint32(c, uint32(9*auths))
	for range auths {
		c = binary.BigEndian.AppendUint32(c, uint32(tpm2.TPMRSPW))
		c = append(c, 0, 0, 1, 0, 0) // no nonce, continueSession, empty password
	}
	return c
}

func sized(b, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

// run sends a command and returns the parameters of its response: parameter
// size ‖ parameters ‖ 5 bytes for each authorization.
func (t *TPM) run(code tpm2.TPMCC, auths int, command []byte, missing ...error) ([]byte, error) {
	binary.BigEndian.PutUint32(command[2:], uint32(len(command)))
	t.mu.Lock()
	defer t.mu.Unlock()
	response, err := t.wire.Send(command)
	if err != nil {
		return nil, err
	}
	if rc := tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])); rc != tpm2.TPMRCSuccess {
		return nil, explain(code, rc, missing...)
	}
	body := response[headerSize:]
	if len(body) < 4+5*auths || uint64(binary.BigEndian.Uint32(body)) != uint64(len(body)-4-5*auths) {
		return nil, &LinkError{Command: commandName(code), Err: fmt.Errorf("malformed response %x", response)}
	}
	return body[4 : len(body)-5*auths], nil
}

// attestation splits TPM2B_ATTEST ‖ TPMT_SIGNATURE, keeping the bytes as the
// TPM sent them.
func attestation(code tpm2.TPMCC, parameters []byte, err error) (quote.Attestation, error) {
	if err != nil {
		return quote.Attestation{}, err
	}
	malformed := &LinkError{Command: commandName(code), Err: errors.New("malformed attestation")}
	if len(parameters) < 2 {
		return quote.Attestation{}, malformed
	}
	n, rest := int(binary.BigEndian.Uint16(parameters)), parameters[2:]
	if n > quote.MaxAttest || n > len(rest) {
		return quote.Attestation{}, malformed
	}
	a := quote.Attestation{Attest: rest[:n:n], Sig: rest[n:]}
	if _, _, err := quote.ParseSignature(a.Sig); err != nil {
		malformed.Err = err
		return quote.Attestation{}, malformed
	}
	return a, nil
}
