//go:build linux && !pcscd

package pcsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/pcsc/ccid"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/usb"
)

// port is a USB port for tests: a directory as sysfs has it, and pipes to the
// emulated token that is plugged in. Everything a test does to the wire, it does
// in disturb.
type port struct {
	t       testing.TB
	sys     string
	card    *pivemu.Card
	reader  string
	disturb func(p *fakePipe, step int, receive bool) (transfer []byte, err error)

	mu    sync.Mutex // guards everything below
	token *usb.Token // nil: pulled
	open  int        // claimed interfaces
	steps int        // transfers so far
}

const portName = "1-1.2"

func newPort(t testing.TB, card *pivemu.Card) *port {
	t.Helper()
	p := &port{t: t, sys: t.TempDir(), card: card}
	p.plug()
	b := p.backend()
	p.reader = b.Readers()[0]
	t.Cleanup(Register(b))
	return p
}

func (p *port) backend() Backend { return &usbReaders{devices: p.sys, claim: p.claim} }

func (p *port) plug() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.token = usb.Plug(p.card, 0)
	writeDevice(p.t, filepath.Join(p.sys, portName), "YubiKey CCID\n", usb.Descriptors())
}

// pull returns once nothing of the token is left.
func (p *port) pull() {
	p.mu.Lock()
	token := p.token
	p.token = nil
	p.mu.Unlock()
	if token == nil {
		return
	}
	token.Unplug()
	if err := os.RemoveAll(filepath.Join(p.sys, portName)); err != nil {
		p.t.Error(err)
	}
}

func (p *port) claim(node string, device ccid.Interface) (bulkPipe, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case node != "/dev/bus/usb/001/007":
		return nil, fmt.Errorf("a node named %s", node)
	case p.token == nil:
		return nil, ErrNoSmartcard
	case p.open > 0:
		return nil, fmt.Errorf("claiming: %w", ErrSharingViolation)
	}
	p.open++
	return &fakePipe{port: p, token: p.token}, nil
}

// fakePipe is a pipe to one insertion.
type fakePipe struct {
	port   *port
	token  *usb.Token
	limits int
}

// hangLimit ends a test that hangs; no test waits for it.
const hangLimit = 2 * time.Minute

func (f *fakePipe) Limit(time.Duration) { f.limits++ }

func (f *fakePipe) step(receive bool) ([]byte, error) {
	f.port.mu.Lock()
	f.port.steps++
	step, disturb := f.port.steps, f.port.disturb
	f.port.mu.Unlock()
	if f.limits == 0 {
		f.port.t.Error("a transfer without a limit")
	}
	if disturb == nil {
		return nil, nil
	}
	return disturb(f, step, receive)
}

func (f *fakePipe) Send(b []byte) error {
	if _, err := f.step(false); err != nil {
		return err
	}
	if f.token.Out(b) != nil {
		return ErrRemovedCard
	}
	return nil
}

func (f *fakePipe) Receive(b []byte) (int, error) {
	transfer, err := f.step(true)
	if err != nil {
		return 0, err
	}
	if transfer == nil {
		if transfer, err = f.next(); err != nil {
			return 0, ErrRemovedCard
		}
	}
	return copy(b, transfer), nil
}

func (f *fakePipe) next() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	m, err := f.token.In(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		f.port.t.Error("the token says nothing")
	}
	return m, err
}

func (f *fakePipe) Close() error {
	f.port.mu.Lock()
	defer f.port.mu.Unlock()
	f.port.open--
	return nil
}

// writeDevice makes what sysfs shows of a device.
func writeDevice(t testing.TB, dir, product string, descriptors []byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"bConfigurationValue": "1\n", "busnum": "1\n", "devnum": "7\n", "product": product, "descriptors": string(descriptors),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
