package device

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"touchmark/tpm/quote"
)

// Enrolment is what an auditor pins of a TPM.
type Enrolment struct {
	AK       []byte         // TPMT_PUBLIC
	Creation quote.Creation // CertifyCreation of the AK by itself
}

// MakeAK makes the AK. outside (at most quote.MaxOutside bytes) is bound into
// its creation data. Any key at the AK's handle is ErrAKExists. When something
// fails, the AK is removed again.
func (t *TPM) MakeAK(outside []byte) (*Enrolment, error) {
	if len(outside) > quote.MaxOutside {
		return nil, fmt.Errorf("tpm: outsideInfo of %d bytes, over the limit of %d: hash it", len(outside), quote.MaxOutside)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.flushTransient(); err != nil { // left by an enrolment that was cut short: slots are scarce
		return nil, err
	}
	var foreign *ForeignAKError
	_, err := t.readAK()
	if err == nil || errors.As(err, &foreign) {
		return nil, ErrAKExists
	}
	if !errors.Is(err, ErrNoAK) {
		return nil, err
	}
	e, name, err := t.makeAK(outside)
	if flushErr := t.flushTransient(); err == nil {
		err = flushErr
	}
	if err != nil {
		return nil, errors.Join(err, t.removeAK(name))
	}
	return e, nil
}

// RemoveAK removes an AK on which no log depends; there may be none. A key of
// another kind stays: *ForeignAKError.
func (t *TPM) RemoveAK() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ak, err := t.readAK()
	if errors.Is(err, ErrNoAK) {
		return nil
	}
	if err != nil {
		return err
	}
	err = t.evict(tpm2.TPMHandle(t.cfg.AK), ak.Name())
	if _, gone := t.readAK(); errors.Is(gone, ErrNoAK) {
		return nil
	}
	return err
}

// MakeHead defines HEAD. **It can never be removed.** One that is there
// already is kept as it is, written or not; an index that is something else is
// *ForeignHeadError.
func (t *TPM) MakeHead() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.headWritten()
	if !errors.Is(err, ErrNoHead) {
		return err
	}
	return t.defineHead()
}

// makeAK creates the AK, makes it persistent and certifies its creation. The
// name is returned as soon as there is something to remove on failure.
func (t *TPM) makeAK(outside []byte) (*Enrolment, []byte, error) {
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      akTemplate(),
		OutsideInfo:   tpm2.TPM2BData{Buffer: outside},
	}.Execute(t.wire)
	if err != nil {
		return nil, nil, explain(tpm2.TPMCCCreatePrimary, err)
	}
	name := made.Name.Buffer
	if err := t.evict(made.ObjectHandle, name); err != nil && !t.isAK(name) {
		return nil, name, err
	}
	rsp, err := tpm2.CertifyCreation{
		SignHandle:     tpm2.AuthHandle{Handle: tpm2.TPMHandle(t.cfg.AK), Name: unsentName, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:   tpm2.NamedHandle{Handle: tpm2.TPMHandle(t.cfg.AK), Name: unsentName},
		QualifyingData: tpm2.TPM2BData{Buffer: tagBytes(outside)},
		CreationHash:   made.CreationHash,
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, // the key's own; go-tpm would send 0
		CreationTicket: made.CreationTicket,
	}.Execute(t.wire)
	if err != nil {
		return nil, name, explain(tpm2.TPMCCCertifyCreation, err, ErrNoAK, ErrNoAK)
	}
	e := &Enrolment{
		AK: bytes.Clone(made.OutPublic.Bytes()),
		Creation: quote.Creation{
			Data:   bytes.Clone(made.CreationData.Bytes()),
			Attest: bytes.Clone(rsp.CertifyInfo.Bytes()), // as the TPM sent it
			Sig:    tpm2.Marshal(rsp.Signature),
		},
	}
	return e, name, e.verify(outside)
}

func tagBytes(outside []byte) []byte {
	tag := quote.CreationTag(outside)
	return tag[:]
}

// verify refuses to hand out what no auditor would accept.
func (e *Enrolment) verify(outside []byte) error {
	ak, err := quote.ParseAK(e.AK)
	if err != nil {
		return fmt.Errorf("tpm: the TPM made an unsuitable attestation key: %w", err)
	}
	if err := ak.VerifyCreation(e.Creation, outside); err != nil {
		return fmt.Errorf("tpm: the TPM's proof of the attestation key's creation is wrong: %w", err)
	}
	return nil
}

// akTemplate is the public template of the AK (docs/spec/tpm.md). unique is
// random and forgotten: a primary key is a function of the hierarchy's seed
// and its template, and nobody shall make the same key twice.
func akTemplate() tpm2.TPM2BPublic {
	unique := make([]byte, 64)
	rand.Read(unique) // never fails (crypto/rand)
	return tpm2.New2B(tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
			KDF:     tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: unique[:32]},
			Y: tpm2.TPM2BECCParameter{Buffer: unique[32:]},
		}),
	})
}

// isAK tells whether the key with this name is at the AK's handle.
func (t *TPM) isAK(name []byte) bool {
	ak, err := t.readAK()
	return err == nil && bytes.Equal(ak.Name(), name)
}

// evict makes a transient object persistent at the AK's handle, or removes
// the persistent object there.
func (t *TPM) evict(object tpm2.TPMHandle, name []byte) error {
	_, err := tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     tpm2.NamedHandle{Handle: object, Name: tpm2.TPM2BName{Buffer: name}},
		PersistentHandle: tpm2.TPMHandle(t.cfg.AK),
	}.Execute(t.wire)
	return explain(tpm2.TPMCCEvictControl, err)
}

// removeAK removes the key with this name, if it got as far as its handle.
func (t *TPM) removeAK(name []byte) error {
	if name == nil {
		return nil
	}
	if !t.isAK(name) {
		return nil // not there, or not ours to remove
	}
	if err := t.evict(tpm2.TPMHandle(t.cfg.AK), name); err != nil {
		return fmt.Errorf("tpm: the attestation key of the failed enrolment stays: %w", err)
	}
	return nil
}

// defineHead defines HEAD. A definition that was reported as failed but is
// there counts.
func (t *TPM) defineHead() error {
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)},
		PublicInfo: tpm2.BytesAs2B[tpm2.TPMSNVPublic](quote.HeadPublic(t.cfg.Head, false)),
	}.Execute(t.wire)
	if err == nil {
		return nil
	}
	if _, readErr := t.headWritten(); readErr == nil {
		return nil
	}
	return definition(err)
}

// definition explains why an index could not be defined.
func definition(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w (%w)", ErrPlatformLocked, explain(tpm2.TPMCCNVDefineSpace, err))
	}
	return explain(tpm2.TPMCCNVDefineSpace, err)
}

// flushTransient flushes every transient object that this connection can see:
// behind the resource manager only those of Enrol, also when the answer that
// named one got lost.
func (t *TPM) flushTransient() error {
	const firstTransient, max = 0x80000000, 16
	list, err := capability(t, tpm2.TPMCapHandles, firstTransient, max, (*tpm2.TPMUCapabilities).Handles)
	if err != nil {
		return err
	}
	for _, h := range list.Handle {
		_, err := tpm2.FlushContext{FlushHandle: h}.Execute(t.wire)
		if err != nil {
			return explain(tpm2.TPMCCFlushContext, err)
		}
	}
	return nil
}
