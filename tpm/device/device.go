// Package device drives the TPM of the appliance: the attestation key (AK),
// the NV index HEAD, one PCR of the SHA-256 bank and the counter of image
// serials, and nothing else.
//
// It speaks to a device of the kernel's resource manager ("/dev/tpmrm0") or to
// an swtpm unix socket ("swtpm:/path"). docs/spec/tpm.md has the objects and
// templates; tpm/quote verifies what CertifyHead and QuotePCR return.
//
// Guarantees:
//   - Nothing hangs: every command, with all its retries, ends within a
//     deadline. A TPM that does not answer is a *LinkError, the connection is
//     given up and the next command opens another.
//   - Each of ExtendHead, ExtendPCR, CertifyHead and QuotePCR is exactly one
//     TPM command; Counts proves it.
//   - Only answers that say "not executed, try again" are retried. Any other
//     failure of an extend leaves open whether it happened: read Head or PCR
//     and compare before doing anything else.
//
// All authorizations used here are empty: what protects HEAD is that it can
// only be extended, and the AK that it signs only what the TPM made.
package device

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Config names the objects; zero fields get the defaults.
type Config struct {
	Head    uint32        // NV index of HEAD, default 0x01800100 (0x01800000–0x01bffffd); the image counter has the two after it
	PCR     int           // default 14; 8–15: others are reset or used by firmware
	AK      uint32        // persistent handle of the AK, default 0x81010010 (owner: 0x81000000–0x817fffff)
	Timeout time.Duration // for one command with all its retries, default DefaultTimeout
}

func (c Config) withDefaults() (Config, error) {
	if c.Head == 0 {
		c.Head = 0x01800100
	}
	if c.PCR == 0 {
		c.PCR = 14
	}
	if c.AK == 0 {
		c.AK = 0x81010010
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	switch {
	case c.Head < 0x01800000 || c.Head > 0x01bffffd: // two more indexes follow it: MakeFloor
		return c, fmt.Errorf("tpm: HEAD index %#08x is not in the owner's range 0x01800000–0x01bffffd", c.Head)
	case c.PCR < 8 || c.PCR > 15:
		return c, fmt.Errorf("tpm: PCR %d is not one of 8–15", c.PCR)
	case c.AK < 0x81000000 || c.AK > 0x817fffff:
		return c, fmt.Errorf("tpm: AK handle %#08x is not in the owner's range 0x81000000–0x817fffff", c.AK)
	case c.Timeout < 0:
		return c, fmt.Errorf("tpm: negative time-out %v", c.Timeout)
	}
	return c, nil
}

// TPM is an open TPM. Its methods may be called from any goroutine and take
// turns.
type TPM struct {
	cfg Config

	mu   sync.Mutex // guards wire: one command at a time
	wire *wire
}

// Open opens "/dev/tpmrm0" or "swtpm:/path/to/socket" with the default Config.
func Open(spec string) (*TPM, error) { return OpenConfig(spec, Config{}) }

// OpenConfig is Open with objects other than the default ones. It reaches the
// device or socket but sends no command.
func OpenConfig(spec string, cfg Config) (*TPM, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var l link
	if path, ok := strings.CutPrefix(spec, "swtpm:"); ok {
		l, err = openSocket(path, cfg.Timeout)
	} else if filepath.IsAbs(spec) {
		l, err = openChar(spec)
	} else {
		err = fmt.Errorf("%q is neither a device (/dev/tpmrm0) nor an emulator (swtpm:/path/to/socket)", spec)
	}
	if err != nil {
		return nil, fmt.Errorf("tpm: cannot open: %w", err)
	}
	return &TPM{cfg: cfg, wire: newWire(l, cfg.Timeout)}, nil
}

// Config is the configuration in use, defaults filled in.
func (t *TPM) Config() Config { return t.cfg }

// Close gives up the connection; the TPM keeps nothing of ours but the AK and
// HEAD.
func (t *TPM) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wire.link.close()
}

// Counts is how many TPM commands were sent since Open, retries included, by
// the names of Part 3 ("NV_Extend", "Quote", …).
func (t *TPM) Counts() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.wire.counts)
}

// within runs f with the wire obeying ctx as well.
func (t *TPM) within(ctx context.Context, f func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wire.ctx = ctx
	defer func() { t.wire.ctx = context.Background() }()
	return f()
}
