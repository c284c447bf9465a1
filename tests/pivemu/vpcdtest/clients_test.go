package vpcdtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

const ykcs11 = "/usr/lib/x86_64-linux-gnu/libykcs11.so"

// tools are what the tests run; all of it is in the Debian packages that
// `make setup` installs.
func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: run \"make setup\"", tool)
		}
	}
}

// newDir is a directory with a file to sign and the root to verify with.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := pivemu.RootPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"root.pem": root, "data": []byte("a message\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func start(t *testing.T, o Options, env []string, argv ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd, err := Command(ctx, o, argv...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Dir, cmd.Env = o.Dir, append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// explain fails the test with everything that tells why.
func explain(t *testing.T, o Options, out *bytes.Buffer, err error) {
	t.Helper()
	log, readErr := os.ReadFile(filepath.Join(o.Dir, "apdu.log"))
	lines := strings.Split(string(log), "\n")
	t.Fatalf("%v\n%s\nlast APDUs (%v):\n%s", err, out, readErr, strings.Join(lines[max(0, len(lines)-12):], "\n"))
}

func script(t *testing.T, name string, o Options, env ...string) {
	t.Helper()
	path, err := filepath.Abs("testdata/scripts/" + name)
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := start(t, o, env, "sh", "-eux", path)
	if err := cmd.Wait(); err != nil {
		explain(t, o, out, err)
	}
}

func TestYubicoPIVTool(t *testing.T) {
	t.Parallel()
	needTools(t, "yubico-piv-tool", "opensc-tool", "openssl")
	script(t, "yubico-piv-tool.sh", Options{Dir: newDir(t), Profile: "5.4.3"})
}

func TestPKCS11AndYkman(t *testing.T) {
	needTools(t, "pkcs11-tool", "ykman", "openssl")
	if _, err := os.Stat(ykcs11); err != nil {
		t.Fatal(`ykcs11 is not installed: run "make setup"`)
	}
	for profile, management := range map[string]string{"5.4.3": "TDES", "5.7.1": "AES192"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			script(t, "pkcs11.sh", Options{Dir: newDir(t), Profile: profile},
				"PROFILE="+profile, "MANAGEMENT="+management, "YKCS11="+ykcs11)
		})
	}
}

// TestPIVGo builds a program with unmodified piv-go and the system's
// libpcsclite and runs it against both firmware profiles. The marker in
// CGO_CFLAGS keeps its objects apart from those that are linked with our own
// PC/SC: Go's build cache does not know what pkg-config says.
func TestPIVGo(t *testing.T) {
	needTools(t, "go", "gcc", "pkg-config")
	program := filepath.Join(t.TempDir(), "pivgo")
	build := exec.Command("go", "build", "-o", program, "./testdata/pivgo")
	build.Env = append(os.Environ(), "CGO_ENABLED=1", "PKG_CONFIG_PATH=", "CGO_CFLAGS=-O2 -g -DPCSC_SYSTEM")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n(libpcsclite-dev is installed by \"make setup\")", err, out)
	}
	for _, profile := range []string{"5.4.3", "5.7.1"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			o := Options{Dir: newDir(t), Profile: profile}
			cmd, out := start(t, o, []string{"PIVGO_PROFILE=" + profile}, program)
			if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "all of piv-go passed") {
				explain(t, o, out, err)
			}
		})
	}
}

// TestTouchThroughPCSCD: a foreign client waits as long as the finger does, a
// time-out is its error, and pulling the token ends the wait at once.
func TestTouchThroughPCSCD(t *testing.T) {
	t.Parallel()
	needTools(t, "yubico-piv-tool")
	o := Options{Dir: newDir(t), Profile: "5.4.3", Touch: "ask", Timeout: time.Hour}
	const signs = `
		yubico-piv-tool -a generate -s 9a -A ECCP256 --touch-policy=always -o pub.pem
		sign() { yubico-piv-tool -a verify-pin -P 123456 --sign -s 9a -A ECCP256 -H SHA256 -i data -o "$1"; }
		sign touched
		openssl dgst -sha256 -verify pub.pem -signature touched data
		if sign timeout; then exit 1; fi
		if sign pulled; then exit 1; fi`
	cmd, out := start(t, o, nil, "sh", "-eux", "-c", signs)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	control := filepath.Join(o.Dir, "control")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	waitForSocket(t, ctx, control)
	for _, action := range []string{"touch", "timeout", "pull"} {
		for _, command := range []string{"wait-touch", action} {
			if _, err := front.Ask(ctx, control, command); err != nil {
				explain(t, o, out, err)
			}
		}
	}
	if err := <-ended; err != nil {
		explain(t, o, out, err)
	}
}

func waitForSocket(t *testing.T, ctx context.Context, path string) {
	t.Helper()
	if err := poll(ctx, nil, path+" is not there", func() bool { return dials("unix", path) }); err != nil {
		t.Fatal(err)
	}
}

// TestNothingSurvives: what the command leaves running in the background ends
// with it, and its exit status is ours.
func TestNothingSurvives(t *testing.T) {
	t.Parallel()
	o := Options{Dir: newDir(t)}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd, err := Command(ctx, o, "sh", "-c", "sleep 1000 & exit 7")
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{write} // held open by whoever survives
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v", err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if err := read.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := read.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("somebody survived: %d, %v", n, err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "relative"}} {
		if _, err := Command(context.Background(), o, "true"); err == nil {
			t.Errorf("%+v: accepted", o)
		}
	}
	if _, err := Command(context.Background(), Options{Dir: t.TempDir()}); err == nil {
		t.Error("no command: accepted")
	}
	o := Options{Dir: t.TempDir(), Profile: "1.0"}
	cmd, out := start(t, o, nil, "true")
	if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), `no firmware profile "1.0"`) {
		t.Errorf("%v: %s", err, out)
	}
}
