package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// link carries whole commands to a TPM and whole responses back. After an
// error it has let go of its connection, and the next exchange makes another.
type link interface {
	exchange(command []byte, deadline time.Time) ([]byte, error)
	close() error
}

// headerSize: tag u16 ‖ size u32 ‖ command or response code u32 (Part 1, "Command/Response Structure").
const headerSize = 10

// wire is the transport.TPM that go-tpm's commands run on: it counts,
// retries and keeps deadlines. The owner serialises its use.
type wire struct {
	link    link
	timeout time.Duration
	ctx     context.Context
	counts  map[string]int
}

func newWire(l link, timeout time.Duration) *wire {
	return &wire{link: l, timeout: timeout, ctx: context.Background(), counts: map[string]int{}}
}

// Send sends one command until the TPM gives a final answer or time is up.
func (w *wire) Send(command []byte) ([]byte, error) {
	if len(command) < headerSize {
		return nil, errors.New("tpm: command without a header")
	}
	code := tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
	deadline := w.deadline(code)
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		if err := w.ctx.Err(); err != nil {
			return nil, &LinkError{Command: commandName(code), Err: err}
		}
		w.counts[commandName(code)]++
		response, err := w.link.exchange(command, deadline)
		if err == nil {
			err = checkHeader(response)
		}
		if err != nil {
			return nil, &LinkError{Command: commandName(code), Err: oneTimeout(err)}
		}
		if !retryable(response) || time.Until(deadline) < backoff {
			return response, nil
		}
		w.pause(backoff)
	}
}

// oneTimeout makes every kind of time-out an os.ErrDeadlineExceeded: that of a
// dial is not by itself.
func oneTimeout(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
	}
	return err
}

func (w *wire) deadline(code tpm2.TPMCC) time.Time {
	timeout := w.timeout
	if code == tpm2.TPMCCCreatePrimary {
		timeout *= creationFactor
	}
	deadline := time.Now().Add(timeout)
	if d, ok := w.ctx.Deadline(); ok && d.Before(deadline) {
		return d
	}
	return deadline
}

func (w *wire) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.ctx.Done():
	}
}

// checkHeader refuses a response whose header does not describe it.
func checkHeader(response []byte) error {
	if len(response) < headerSize {
		return fmt.Errorf("response of %d bytes has no header", len(response))
	}
	tag, size := binary.BigEndian.Uint16(response), binary.BigEndian.Uint32(response[2:])
	if tag != uint16(tpm2.TPMSTNoSessions) && tag != uint16(tpm2.TPMSTSessions) {
		return fmt.Errorf("response tag %#04x is not of TPM 2.0", tag)
	}
	if uint64(size) != uint64(len(response)) {
		return fmt.Errorf("response of %d bytes says it has %d", len(response), size)
	}
	return nil
}

// retryable tells the warnings that mean "not executed, send it again"
// (Part 2, §6.6.3).
func retryable(response []byte) bool {
	switch tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])) {
	case tpm2.TPMRCRetry, tpm2.TPMRCNVRate, tpm2.TPMRCYielded, tpm2.TPMRCTesting:
		return true
	}
	return false
}

// tpmccNVExtend is missing in go-tpm (Part 2, §6.5.2).
const tpmccNVExtend tpm2.TPMCC = 0x136

var commandNames = map[tpm2.TPMCC]string{
	tpm2.TPMCCActivateCredential:  "ActivateCredential",
	tpm2.TPMCCCertifyCreation:     "CertifyCreation",
	tpm2.TPMCCCreatePrimary:       "CreatePrimary",
	tpm2.TPMCCEvictControl:        "EvictControl",
	tpm2.TPMCCFlushContext:        "FlushContext",
	tpm2.TPMCCGetCapability:       "GetCapability",
	tpm2.TPMCCHierarchyChanegAuth: "HierarchyChangeAuth",
	tpm2.TPMCCNVCertify:           "NV_Certify",
	tpm2.TPMCCNVDefineSpace:       "NV_DefineSpace",
	tpmccNVExtend:                 "NV_Extend",
	tpm2.TPMCCNVIncrement:         "NV_Increment",
	tpm2.TPMCCNVRead:              "NV_Read",
	tpm2.TPMCCNVReadPublic:        "NV_ReadPublic",
	tpm2.TPMCCNVWrite:             "NV_Write",
	tpm2.TPMCCNVWriteLock:         "NV_WriteLock",
	tpm2.TPMCCPCRExtend:           "PCR_Extend",
	tpm2.TPMCCPCRRead:             "PCR_Read",
	tpm2.TPMCCPolicySecret:        "PolicySecret",
	tpm2.TPMCCQuote:               "Quote",
	tpm2.TPMCCReadPublic:          "ReadPublic",
	tpm2.TPMCCStartAuthSession:    "StartAuthSession",
}

func commandName(code tpm2.TPMCC) string {
	if name, ok := commandNames[code]; ok {
		return name
	}
	return fmt.Sprintf("command %#x", uint32(code))
}
