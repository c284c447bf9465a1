//go:build linux && !pcscd

package pcsc

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/pcsc/ccid"
)

// What usbfs does with a real device is tried in tests/pivemu/redir; here is what
// needs none.

func TestUSBFSErrors(t *testing.T) {
	for errno, want := range map[unix.Errno]Errno{
		unix.ENODEV: ErrRemovedCard, unix.ESHUTDOWN: ErrRemovedCard, unix.ENOENT: ErrRemovedCard, unix.EPROTO: ErrRemovedCard,
		unix.ETIMEDOUT: ErrTimeout, unix.EBUSY: ErrSharingViolation, unix.EPIPE: ErrCommError, unix.EOVERFLOW: ErrCommError,
		unix.EINTR: ErrCommError, unix.ENOTTY: ErrCommError,
	} {
		if got := usbCode(errno); got != want {
			t.Errorf("%v: %v, want %v", errno, got, want)
		}
	}
}

func TestClaimOfNoDevice(t *testing.T) {
	dir := t.TempDir()
	if _, err := claimUSB(filepath.Join(dir, "007"), ccid.Interface{}); !errors.Is(err, ErrNoSmartcard) {
		t.Errorf("a node that is gone: %v", err)
	}
	plain := filepath.Join(dir, "008")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claimUSB(plain, ccid.Interface{}); !errors.Is(err, ErrCommError) || !errors.Is(err, unix.ENOTTY) {
		t.Errorf("a plain file: %v", err)
	}
}

// TestUSBFSLimit: without a limit, or after it, nothing is sent or waited for.
func TestUSBFSLimit(t *testing.T) {
	node, err := os.Create(filepath.Join(t.TempDir(), "node"))
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	p := &usbfsPipe{node: node}
	for _, limit := range []time.Duration{0, -time.Second} {
		if err := p.Send([]byte{1}); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		if _, err := p.Receive(make([]byte, 64)); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		p.Limit(limit)
	}
	p.Limit(time.Hour)
	if err := p.Send([]byte{1}); !errors.Is(err, ErrCommError) { // it is no device
		t.Error(err)
	}
}
