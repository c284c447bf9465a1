package vpcdtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
)

// clients are the scripts below testdata/scripts, one for each foreign client or
// for a thing that several of them must survive.
// The last one leaves the token pulled.
var clients = []string{"yubico-piv-tool.sh", "opensc.sh", "ykcs11.sh", "ykman.py", "ssh.sh", "secrets.sh", "apdus.py", "attestation.sh", "touch.sh"}

// managementKeys are the firmware profiles and what their factory management
// key is called.
var managementKeys = map[string]string{"5.4.3": "TDES", "5.7.1": "AES192"}

// clientLimit ends a client that hangs: the slowest takes some ten seconds on a
// busy machine.
const clientLimit = 4 * time.Minute

// tools are what the scripts call; `make setup` installs them.
func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: run \"make setup\"", tool)
		}
	}
}

// library finds a shared library whose folder depends on the machine's kind.
func library(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/" + name)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s is not installed (%v): run \"make setup\"", name, found)
	}
	return found[0]
}

// TestConformance puts clients that nobody here wrote before an emulated token
// of each firmware, behind one real pcscd each.
func TestConformance(t *testing.T) {
	needTools(t, "yubico-piv-tool", "opensc-tool", "pkcs11-tool", "pkcs15-tool", "ykman", "openssl", "ssh-keygen", "ssh-agent", "nsenter")
	scripts, err := filepath.Abs("testdata/scripts")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"SCRIPTS=" + scripts, "YKCS11=" + library(t, "libykcs11.so"), "OPENSC=" + library(t, "opensc-pkcs11.so"),
		"PIVGO=" + buildPIVGo(t, ""), "PIVEMU=" + buildTool(t, "../cmd/pivemu", []string{"CGO_ENABLED=0"}),
	}
	for profile, management := range managementKeys {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			r := &reader{o: Options{Dir: newDir(t), Profile: profile, Touch: "auto", Timeout: time.Hour}}
			r.env = append([]string{"PROFILE=" + profile, "MANAGEMENT=" + management, "APDU_LOG=" + r.log(), "RSA4096=1"}, env...)
			r.open(t)
			t.Run("piv-go", func(t *testing.T) { r.pivGo(t) })
			for _, name := range clients {
				client, _, _ := strings.Cut(name, ".")
				t.Run(client, func(t *testing.T) { r.script(t, filepath.Join(scripts, name)) })
			}
		})
	}
}

// reader is one pcscd with one token, as all clients of a profile share it.
type reader struct {
	o   Options
	env []string
	box *Box
}

func (r *reader) log() string { return filepath.Join(r.o.Dir, "apdu.log") }

func (r *reader) open(t *testing.T) {
	t.Helper()
	var err error
	if r.box, err = Open(context.Background(), r.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.box.Close(); err != nil {
			t.Error(err)
		}
	})
}

// client runs a command in a directory of its own with a token as from the
// factory, and returns what it said.
func (r *reader) client(t *testing.T, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clientLimit)
	defer cancel()
	if _, err := front.Ask(ctx, r.box.Control(), "factory"); err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	cmd := r.box.Command(ctx, dir, argv...)
	cmd.Env = append(append(cmd.Env, r.env...), "HOME="+dir, "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.explain(t, out, err)
	}
	return string(out)
}

func (r *reader) script(t *testing.T, path string) {
	if filepath.Ext(path) == ".py" { // with the Python that has the client's modules
		r.client(t, "/usr/bin/python3", "-P", path)
		return
	}
	r.client(t, "sh", "-eux", path)
}

// explain fails the test with everything that tells why.
func (r *reader) explain(t *testing.T, out []byte, err error) {
	t.Helper()
	log, readErr := os.ReadFile(r.log())
	lines := strings.Split(string(log), "\n")
	t.Fatalf("%v\n%s\nlast APDUs (%v):\n%s", err, out, readErr, strings.Join(lines[max(0, len(lines)-12):], "\n"))
}

const pivGoPassed = "all of piv-go passed"

func (r *reader) pivGo(t *testing.T) {
	if out := r.client(t, r.variable("PIVGO")); !strings.Contains(out, pivGoPassed) {
		r.explain(t, []byte(out), nil)
	}
}

func (r *reader) variable(name string) string {
	for _, v := range r.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// TestPIVGoInProcess: the same program, linked with our own PC/SC instead of
// pcscd, finds the same token.
func TestPIVGoInProcess(t *testing.T) {
	stub, err := filepath.Abs("../../../appliance/pcsc/stub")
	if err != nil {
		t.Fatal(err)
	}
	program := buildPIVGo(t, stub, "-tags", "emulated")
	for profile := range managementKeys {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			card, err := pivemu.New(pivemu.Config{Profile: profile, Serial: 12345678})
			if err != nil {
				t.Fatal(err)
			}
			socket := filepath.Join(shortDir(t), "s")
			port := front.NewPort(card)
			t.Cleanup(port.Close)
			if err := port.ServeUnix(socket); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), clientLimit)
			defer cancel()
			cmd := exec.CommandContext(ctx, program)
			cmd.Env = append(os.Environ(), "PROFILE="+profile, "PIVEMU_SOCKET="+socket, "PIVEMU_READER=Emulated reader "+socket)
			if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(pivGoPassed)) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vpcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// buildPIVGo builds a program with unmodified piv-go: with the PC/SC that
// pkgConfig leads to, or with the system's. The marker in CGO_CFLAGS keeps the
// objects of the two apart: Go's build cache does not know what pkg-config says.
func buildPIVGo(t *testing.T, pkgConfig string, flags ...string) string {
	t.Helper()
	needTools(t, "gcc", "pkg-config")
	marker := "-DPCSC_SYSTEM"
	if pkgConfig != "" {
		marker = "-DPCSC_INPROC"
	}
	return buildTool(t, "./testdata/pivgo", []string{"CGO_ENABLED=1", "PKG_CONFIG_PATH=" + pkgConfig, "CGO_CFLAGS=-O2 -g " + marker}, flags...)
}

func buildTool(t *testing.T, folder string, env []string, flags ...string) string {
	t.Helper()
	needTools(t, "go")
	program := filepath.Join(t.TempDir(), filepath.Base(folder))
	build := exec.Command("go", append(append([]string{"build", "-o", program}, flags...), folder)...)
	build.Env = append(append(os.Environ(), "GOFLAGS="), env...) // the tags of whoever runs this test mean another build
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n(libpcsclite-dev is installed by \"make setup\")", err, out)
	}
	return program
}
