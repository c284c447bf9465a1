//go:build pcscd

package piv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/piv"
	"touchmark/tests/pivemu/front"
	"touchmark/tests/pivemu/vpcdtest"
)

// TestMain runs the tests again inside namespaces with a pcscd of their own.
func TestMain(m *testing.M) {
	vpcdtest.Main()
	if os.Getenv("VPCD_ADDR") != "" {
		os.Exit(m.Run())
	}
	code, err := inside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func inside() (int, error) {
	dir, err := os.MkdirTemp("", "piv")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	args := append([]string{"/proc/self/exe"}, os.Args[1:]...)
	cmd, err := vpcdtest.Command(context.Background(), vpcdtest.Options{Dir: dir, NoToken: true}, args...)
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// removalNoticed returns once pcscd knows that the reader is empty. It looks
// every 400 ms, and a token that is back before that stays "absent" for ever if
// a reset of the old one failed meanwhile. A look shows from outside as a
// request for the ATR, which is answered here by hanging up: no card.
func removalNoticed(t testing.TB) {
	t.Helper()
	conn, err := net.Dial("tcp", os.Getenv("VPCD_ADDR"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 3)); err != nil {
		t.Fatal("pcscd does not look for a card: ", err)
	}
}

// attach puts the token into vpcd's reader.
func attach(t testing.TB, port *front.Port) (reader string) {
	t.Helper()
	removalNoticed(t)
	if err := port.DialVPCD(os.Getenv("VPCD_ADDR")); err != nil {
		t.Fatal(err)
	}
	return "Yubico"
}

// Without the daemon the error says so. (The client library reads the socket's
// name once, so it takes another process.)
func TestNoDaemon(t *testing.T) {
	const env = "PCSCLITE_CSOCK_NAME"
	if os.Getenv(env) != "" {
		_, err := piv.Open(piv.Options{})
		if !errors.Is(err, piv.ErrNoToken) || !strings.Contains(err.Error(), "pcscd is not running") {
			t.Errorf("%v", err)
		}
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestNoDaemon$")
	cmd.Env = append(os.Environ(), env+"="+filepath.Join(t.TempDir(), "none"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
