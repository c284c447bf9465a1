package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"touchmark/tpm/quote"
)

// Head reads HEAD, zero before its first extend. It asks for the public area
// first: an index that is not a HEAD is a *ForeignHeadError, none ErrNoHead.
func (t *TPM) Head() ([32]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	written, err := t.headWritten()
	if err != nil || !written {
		return [32]byte{}, err
	}
	rsp, err := tpm2.NVRead{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(t.cfg.Head), Name: unsentName, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: tpm2.TPMHandle(t.cfg.Head), Name: unsentName},
		Size:       quote.HeadSize,
	}.Execute(t.wire)
	if err != nil {
		return [32]byte{}, explain(tpm2.TPMCCNVRead, err, ErrNoHead, ErrNoHead)
	}
	if len(rsp.Data.Buffer) != quote.HeadSize {
		return [32]byte{}, fmt.Errorf("tpm: HEAD read as %d bytes, not %d", len(rsp.Data.Buffer), quote.HeadSize)
	}
	return [32]byte(rsp.Data.Buffer), nil
}

// unsentName satisfies go-tpm, which wants the Name of each handle. Names
// enter a command only through HMAC sessions; with passwords they are unused.
var unsentName = tpm2.TPM2BName{Buffer: []byte{0}}

func (t *TPM) selection() tpm2.TPMLPCRSelection {
	bits := make([]byte, 3)
	bits[t.cfg.PCR/8] = 1 << (t.cfg.PCR % 8)
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bits}}}
}

// headWritten tells whether HEAD, which must exist as such, was ever extended.
func (t *TPM) headWritten() (bool, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(t.cfg.Head)}.Execute(t.wire)
	if err != nil {
		return false, explain(tpm2.TPMCCNVReadPublic, err, ErrNoHead)
	}
	public := rsp.NVPublic.Bytes()
	written := bytes.Equal(public, quote.HeadPublic(t.cfg.Head, true))
	if !written && !bytes.Equal(public, quote.HeadPublic(t.cfg.Head, false)) {
		return false, &ForeignHeadError{Index: t.cfg.Head, Public: bytes.Clone(public)}
	}
	return written, nil
}

// PCR reads the PCR of the SHA-256 bank.
func (t *TPM) PCR() ([32]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rsp, err := tpm2.PCRRead{PCRSelectionIn: t.selection()}.Execute(t.wire)
	if err != nil {
		return [32]byte{}, explain(tpm2.TPMCCPCRRead, err)
	}
	// A TPM without this bank answers with no value and success.
	if len(rsp.PCRValues.Digests) != 1 || len(rsp.PCRValues.Digests[0].Buffer) != 32 {
		return [32]byte{}, ErrNoBank
	}
	return [32]byte(rsp.PCRValues.Digests[0].Buffer), nil
}

// AK reads the public part of the attestation key; ErrNoAK if there is none.
func (t *TPM) AK() (*quote.AK, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.readAK()
}

func (t *TPM) readAK() (*quote.AK, error) {
	rsp, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(t.cfg.AK)}.Execute(t.wire)
	if err != nil {
		return nil, explain(tpm2.TPMCCReadPublic, err, ErrNoAK)
	}
	ak, err := quote.ParseAK(rsp.OutPublic.Bytes())
	if err != nil {
		return nil, &ForeignAKError{Handle: t.cfg.AK, Err: err}
	}
	return ak, nil
}

// ForeignAKError says that the key at the AK's handle is not one that Enrol makes.
type ForeignAKError struct {
	Handle uint32
	Err    error
}

func (e *ForeignAKError) Error() string {
	return fmt.Sprintf("tpm: the key at %#08x is not an attestation key of ours: %v", e.Handle, e.Err)
}

func (e *ForeignAKError) Unwrap() error { return e.Err }

// needed are the commands that a TPM must have; some firmware TPMs lack
// NV_Certify or NV_Extend. UndefineSpaceSpecial is never called: a TPM
// without it may ignore POLICY_DELETE.
var needed = []struct {
	code tpm2.TPMCC
	name string
}{
	{tpm2.TPMCCNVUndefineSpaceSpecial, "NV_UndefineSpaceSpecial"},
	{tpm2.TPMCCEvictControl, "EvictControl"},
	{tpm2.TPMCCNVDefineSpace, "NV_DefineSpace"},
	{tpm2.TPMCCCreatePrimary, "CreatePrimary"},
	{tpmccNVExtend, "NV_Extend"},
	{tpm2.TPMCCNVIncrement, "NV_Increment"},
	{tpm2.TPMCCNVWrite, "NV_Write"},
	{tpm2.TPMCCNVWriteLock, "NV_WriteLock"},
	{tpm2.TPMCCCertifyCreation, "CertifyCreation"},
	{tpm2.TPMCCNVRead, "NV_Read"},
	{tpm2.TPMCCQuote, "Quote"},
	{tpm2.TPMCCPCRRead, "PCR_Read"},
	{tpm2.TPMCCPCRExtend, "PCR_Extend"},
	{tpm2.TPMCCNVCertify, "NV_Certify"},
}

// Capable checks that the TPM has the commands, the curve and the PCR that
// Touchmark needs, and says everything that is missing at once.
func (t *TPM) Capable(ctx context.Context) error {
	return t.within(ctx, func() error {
		var missing []error
		for _, n := range needed {
			ok, err := t.hasCommand(n.code)
			if err != nil {
				return err
			}
			if !ok {
				missing = append(missing, fmt.Errorf("tpm: the TPM has no %s command: it cannot root a log", n.name))
			}
		}
		for _, check := range []func() error{t.checkCurve, t.checkBank} {
			if err := check(); err != nil {
				missing = append(missing, err)
			}
		}
		return errors.Join(missing...)
	})
}

// capability asks for the first value at or after property.
func capability[T any](t *TPM, kind tpm2.TPMCap, property uint32, count uint32, pick func(*tpm2.TPMUCapabilities) (T, error)) (v T, err error) {
	rsp, err := tpm2.GetCapability{Capability: kind, Property: property, PropertyCount: count}.Execute(t.wire)
	if err != nil {
		return v, explain(tpm2.TPMCCGetCapability, err)
	}
	if rsp.CapabilityData.Capability != kind {
		return v, fmt.Errorf("tpm: asked for capability %d, got %d", kind, rsp.CapabilityData.Capability)
	}
	return pick(&rsp.CapabilityData.Data)
}

func (t *TPM) hasCommand(code tpm2.TPMCC) (bool, error) {
	list, err := capability(t, tpm2.TPMCapCommands, uint32(code), 1, (*tpm2.TPMUCapabilities).Command)
	if err != nil {
		return false, err
	}
	return len(list.CommandAttributes) > 0 && uint32(list.CommandAttributes[0].CommandIndex) == uint32(code), nil
}

func (t *TPM) checkCurve() error {
	list, err := capability(t, tpm2.TPMCapECCCurves, uint32(tpm2.TPMECCNistP256), 1, (*tpm2.TPMUCapabilities).ECCCurves)
	if err == nil && !slices.Contains(list.ECCCurves, tpm2.TPMECCNistP256) {
		err = errors.New("tpm: the TPM has no NIST P-256")
	}
	return err
}

func (t *TPM) checkBank() error {
	list, err := capability(t, tpm2.TPMCapPCRs, 0, 1, (*tpm2.TPMUCapabilities).AssignedPCR)
	if err != nil {
		return err
	}
	for _, s := range list.PCRSelections {
		i := t.cfg.PCR / 8
		if s.Hash == tpm2.TPMAlgSHA256 && i < len(s.PCRSelect) && s.PCRSelect[i]>>(t.cfg.PCR%8)&1 == 1 {
			return nil
		}
	}
	return ErrNoBank
}
