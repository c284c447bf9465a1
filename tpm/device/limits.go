package device

import "time"

const (
	// maxResponse bounds a response: TPM2_PT_MAX_RESPONSE_SIZE is at most
	// 4096 on every TPM for the PC and the one known to us.
	maxResponse = 4096

	// DefaultTimeout is the time one command may take with all its retries.
	// An NV extend takes 10–50 ms in hardware, a P-256 quote under 1 s; the
	// first use of an algorithm after power-on may wait for a self-test.
	DefaultTimeout = 10 * time.Second

	// creationFactor times Timeout is what CreatePrimary may take: deriving
	// a P-256 key takes seconds on old hardware.
	creationFactor = 6

	// A TPM that says "not now" is asked again after firstBackoff, then twice
	// as late each time up to lastBackoff (NV write recovery, TPM_RC_NV_RATE,
	// is tens of milliseconds; a self-test a second).
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = 500 * time.Millisecond

	// maxCertificate bounds an EK certificate: NV indexes hold 2048 bytes on
	// the TPMs known to us.
	maxCertificate = 4096

	// nvChunk is read of an NV index at once: TPM_PT_NV_BUFFER_MAX is at
	// least 512 on TPMs for the PC.
	nvChunk = 512

	// MaxRaise bounds how far the image counter is raised at once: a step is a
	// write of flash, 10-50 ms. So many steps an update, or a start, are the most
	// that docs/spec/tpm.md §3.1 has.
	MaxRaise = 64
)
