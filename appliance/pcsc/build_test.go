package pcsc

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// functions and data that piv-go takes from PC/SC.
var symbols = []string{
	"SCardEstablishContext", "SCardReleaseContext", "SCardListReaders", "SCardConnect",
	"SCardDisconnect", "SCardBeginTransaction", "SCardEndTransaction", "SCardTransmit",
	"g_rgSCardT0Pci", "g_rgSCardT1Pci", "g_rgSCardRawPci",
}

// build links testdata/signer, a program that signs with a token, with the
// settings of the package comment.
func build(t *testing.T, tags string, flags ...string) (*elf.File, string) {
	t.Helper()
	stub, err := filepath.Abs("stub")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "signer")
	args := append([]string{"build", "-trimpath", "-tags", "netgo,osusergo," + tags, "-o", out}, flags...)
	cmd := exec.Command("go", append(args, "./testdata/signer")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "PKG_CONFIG_PATH="+stub, "CGO_CFLAGS=-O2 -g -DPCSC_INPROC")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, msg)
	}
	f, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, out
}

func needs(t *testing.T, f *elf.File) []string {
	t.Helper()
	libs, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	return libs
}

// defined returns which of our symbols the file defines, and which it takes
// from elsewhere.
func defined(t *testing.T, f *elf.File) (ours, foreign []string) {
	t.Helper()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if name, _, _ := strings.Cut(s.Name, "@"); slices.Contains(symbols, name) {
			if s.Section == elf.SHN_UNDEF {
				foreign = append(foreign, name)
			} else {
				ours = append(ours, name)
			}
		}
	}
	slices.Sort(ours)
	return slices.Compact(ours), foreign
}

// Missing symbols would silently be taken from a system library: no in-process
// build may need one, and all eight functions must be ours.
func TestInProcessBuilds(t *testing.T) {
	want := slices.Sorted(slices.Values(symbols))
	static := []string{"-ldflags", `-linkmode external -extldflags "-static"`}
	for _, c := range []struct {
		name, tags string
		flags      []string
	}{
		{"default", "", nil},
		{"emulated", "emulated", nil},
		{"static emulated", "emulated", static},
	} {
		f, _ := build(t, c.tags, c.flags...)
		libs := needs(t, f)
		if slices.ContainsFunc(libs, func(l string) bool { return strings.Contains(l, "pcsc") }) {
			t.Errorf("%s: needs %v", c.name, libs)
		}
		if c.flags != nil && len(libs) > 0 {
			t.Errorf("%s: static, but needs %v", c.name, libs)
		}
		ours, foreign := defined(t, f)
		if !slices.Equal(ours, want) || len(foreign) > 0 {
			t.Errorf("%s: defines %v, takes %v from elsewhere", c.name, ours, foreign)
		}
	}
}

func TestSystemBuild(t *testing.T) {
	f, _ := build(t, "pcscd")
	if libs := needs(t, f); !slices.Contains(libs, "libpcsclite.so.1") {
		t.Errorf("tag pcscd: needs %v, not libpcsclite", libs)
	}
	if ours, _ := defined(t, f); len(ours) > 0 {
		t.Errorf("tag pcscd: defines %v", ours)
	}
}

// A binary that got libpcsclite beside our functions refuses to start.
func TestSpoiledBuildRefusesToStart(t *testing.T) {
	f, path := build(t, "emulated", "-ldflags", `-linkmode external -extldflags "-Wl,--no-as-needed -lpcsclite"`)
	if !slices.Contains(needs(t, f), "libpcsclite.so.1") {
		t.Fatal("the test did not manage to spoil the build")
	}
	msg, err := exec.Command(path).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 70 || !strings.Contains(string(msg), "libpcsclite") {
		t.Errorf("it started: %v, %s", err, msg)
	}
}

// Without the macro, or with the system's headers, pci.c does not compile.
func TestWrongFlagsDoNotCompile(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"as documented", []string{"-DPCSC_INPROC", "-Istub/include"}, ""},
		{"no macro", []string{"-Istub/include"}, "CGO_CFLAGS"},
		{"system headers", []string{"-DPCSC_INPROC", "-I/usr/include/PCSC"}, "PKG_CONFIG_PATH"},
	} {
		args := append([]string{"-fsyntax-only"}, append(c.args, "pci.c")...)
		msg, err := exec.Command("gcc", args...).CombinedOutput()
		if (err == nil) != (c.want == "") || !strings.Contains(string(msg), c.want) {
			t.Errorf("%s: %v, %s", c.name, err, msg)
		}
	}
}
