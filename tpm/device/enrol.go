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

// Enrol makes the AK and HEAD. outside (at most quote.MaxOutside bytes) is
// bound into the AK's creation data.
//
// It refuses with ErrAKExists when there is any key at the AK's handle, with
// ErrHeadExists when HEAD has been written, with *ForeignHeadError when the
// index is something else. A HEAD that was defined but never written is taken
// as it is: it is what an enrolment leaves that was cut short, it cannot be
// removed, and it is indistinguishable from a new one. HEAD comes last for
// that reason; when anything fails, the AK is removed again.
func (t *TPM) Enrol(outside []byte) (*Enrolment, error) {
	if len(outside) > quote.MaxOutside {
		return nil, fmt.Errorf("tpm: outsideInfo of %d bytes, over the limit of %d: hash it", len(outside), quote.MaxOutside)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.flushTransient(); err != nil { // left by an enrolment that was cut short: slots are scarce
		return nil, err
	}
	headDefined, err := t.vacant()
	if err != nil {
		return nil, err
	}
	e, name, err := t.makeAK(outside)
	if err == nil && !headDefined {
		err = t.defineHead()
	}
	if flushErr := t.flushTransient(); err == nil && flushErr != nil {
		err = flushErr
	}
	if err != nil {
		return nil, errors.Join(err, t.removeAK(name))
	}
	return e, nil
}

// Abandon removes the AK of an enrolment after which no log was begun: HEAD
// has never been extended, or is not there. Otherwise it is ErrHeadExists.
// After it, Enrol works again.
func (t *TPM) Abandon() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	written, err := t.headWritten()
	if err != nil && !errors.Is(err, ErrNoHead) {
		return err
	}
	if written {
		return ErrHeadExists
	}
	ak, err := t.readAK()
	if err != nil {
		return err
	}
	return t.evict(tpm2.TPMHandle(t.cfg.AK), ak.Name())
}

// vacant checks that nothing of ours exists but maybe an unwritten HEAD.
func (t *TPM) vacant() (headDefined bool, err error) {
	written, err := t.headWritten()
	if err != nil && !errors.Is(err, ErrNoHead) {
		return false, err
	}
	if written {
		return false, ErrHeadExists
	}
	var foreign *ForeignAKError
	_, akErr := t.readAK()
	if akErr == nil || errors.As(akErr, &foreign) {
		return false, ErrAKExists
	}
	if !errors.Is(akErr, ErrNoAK) {
		return false, akErr
	}
	return err == nil, nil
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
	if err := t.evict(made.ObjectHandle, name); err != nil {
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
	ak, err := t.readAK()
	if err != nil || !bytes.Equal(ak.Name(), name) {
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
	if written, readErr := t.headWritten(); readErr == nil && !written {
		return nil
	}
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
