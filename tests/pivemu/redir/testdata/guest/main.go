// Command guest is the only process of a virtual machine with a USB token: it
// loads the machine's drivers and uses the token as the board does, through
// appliance/pcsc, usbfs and unmodified piv-go. It tells its steps, one a line, on
// the second serial port; whoever has the other end touches and pulls.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-piv/piv-go/v2/piv"
	"golang.org/x/sys/unix"

	"touchmark/appliance/pcsc"
)

const pollEvery = 20 * time.Millisecond

var out *os.File

func main() {
	err := start()
	if err == nil {
		err = use()
	}
	if err != nil {
		say("failed: %v", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func say(format string, a ...any) {
	if out != nil {
		fmt.Fprintf(out, format+"\n", a...)
	}
}

// start mounts what there is to mount and loads the modules.
func start() error {
	for path, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		if err := errors.Join(os.MkdirAll(path, 0o755), unix.Mount(kind, path, kind, 0, "")); err != nil {
			return fmt.Errorf("mounting %s: %w", path, err)
		}
	}
	var err error
	if out, err = os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return err
	}
	list, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		f, err := os.Open("/modules/" + name + ".ko")
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading %s: %w", name, err)
		}
		f.Close()
	}
	say("booted")
	return nil
}

// open waits for the token and opens it.
func open() (*piv.YubiKey, string, error) {
	for ticker := time.NewTicker(pollEvery); ; <-ticker.C {
		for _, reader := range pcsc.USBBackend().Readers() {
			var yk *piv.YubiKey
			err := pcsc.Sweep(func() (err error) {
				yk, err = piv.Open(reader)
				return err
			})
			return yk, reader, err
		}
	}
}

func use() error {
	yk, reader, err := open()
	if err != nil {
		return err
	}
	serial, err := yk.Serial()
	if err != nil {
		return err
	}
	say("reader %s serial %d", reader, serial)
	_, err = pcsc.USBBackend().Connect(reader)
	say("second %t", errors.Is(err, pcsc.ErrSharingViolation))
	pub, err := yk.GenerateKey(piv.DefaultManagementKey, piv.SlotSignature, piv.Key{
		Algorithm: piv.AlgorithmEC256, PINPolicy: piv.PINPolicyOnce, TouchPolicy: piv.TouchPolicyAlways,
	})
	if err != nil {
		return err
	}
	key := pub.(*ecdsa.PublicKey)
	if _, err := yk.Attest(piv.SlotSignature); err != nil { // a long answer
		return err
	}
	for _, name := range []string{"touched", "untouched", "pulled"} {
		err := sign(yk, key)
		code, _ := pcsc.Code(err)
		say("%s %t %t", name, err == nil, code == pcsc.ErrRemovedCard)
	}
	_ = yk.Close() // of a token that is gone
	if yk, _, err = open(); err != nil {
		return err
	}
	say("again %t", sign(yk, key) == nil)
	return yk.Close()
}

func sign(yk *piv.YubiKey, key *ecdsa.PublicKey) error {
	if err := yk.VerifyPIN(piv.DefaultPIN); err != nil {
		return err
	}
	private, err := yk.PrivateKey(piv.SlotSignature, key, piv.KeyAuth{PINPolicy: piv.PINPolicyNever})
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte("a message"))
	sig, err := private.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
	if err == nil && !ecdsa.VerifyASN1(key, digest[:], sig) {
		err = errors.New("a wrong signature")
	}
	return err
}
