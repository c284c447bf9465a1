// Command guest is the only process of a virtual machine with a USB token: it
// loads the machine's drivers and uses the token as the board does, through
// appliance/piv, unmodified piv-go, appliance/pcsc and usbfs. It tells its steps, one a line, on
// the second serial port; whoever has the other end touches and pulls.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
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
func open() (*piv.Token, error) {
	for ticker := time.NewTicker(pollEvery); ; <-ticker.C {
		if token, err := piv.Open(piv.Options{}); !errors.Is(err, piv.ErrNoToken) {
			return token, err
		}
	}
}

func use() error {
	token, err := open()
	if err != nil {
		return err
	}
	info := token.Info()
	say("reader %s serial %d", info.Reader, info.Serial)
	_, err = pcsc.USBBackend().Connect(info.Reader) // as another process would
	say("second %t", errors.Is(err, pcsc.ErrSharingViolation))
	key, err := token.Enrol(piv.EnrolConfig{Key: piv.KeySpec{Slot: "9c", Algorithm: "p256"}, PIN: pin()})
	if err != nil {
		return err
	}
	for _, name := range []string{"touched", "untouched", "pulled"} {
		err := sign(token, key.Public)
		say("%s: signed %t, timed out %t, removed %t", name, err == nil, errors.Is(err, piv.ErrTouchTimeout), errors.Is(err, piv.ErrRemoved))
	}
	_ = token.Close() // of a token that is gone
	if token, err = open(); err != nil {
		return err
	}
	_, err = token.Sign("9c", key.Public, make([]byte, sha256.Size), crypto.SHA256)
	say("again: without the PIN %t", errors.Is(err, piv.ErrPINRequired))
	if err := token.VerifyPIN(pin()); err != nil {
		return err
	}
	say("again: signed %t", sign(token, key.Public) == nil)
	return token.Close()
}

func pin() []byte { return []byte("123456") }

func sign(token *piv.Token, key crypto.PublicKey) error {
	digest := sha256.Sum256([]byte("a message"))
	sig, err := token.Sign("9c", key, digest[:], crypto.SHA256)
	if err == nil && !ecdsa.VerifyASN1(key.(*ecdsa.PublicKey), digest[:], sig) {
		err = errors.New("a wrong signature")
	}
	return err
}
