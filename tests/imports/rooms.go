// Package imports states which rooms the module has and what each may know of the others, and its tests hold the tree to
// that: cmd → edges → pure and never back, the link's rooms independent of everything else, no emulator in production,
// no clock, randomness, file or socket in a pure room.
//
// A new package must be entered in rooms below, or the test names it: nobody adds a room without saying of what kind it is.
package imports

// kind says what a room may touch.
type kind int

const (
	pure    kind = iota // no os, net, clock, goroutines, randomness: all of that is passed in
	edge                // talks to the outside world behind a narrow interface
	command             // package main: flags and wiring
	test                // tests, emulators, harnesses: never part of a production binary
)

// rooms names every package of the module, by its path below the module's.
var rooms = map[string]kind{
	"appliance/boot":                          pure,
	"appliance/boot/first":                    edge,
	"appliance/boot/machine":                  edge,
	"appliance/ceremony":                      pure,
	"appliance/intake":                        pure,
	"appliance/piv/attest":                    pure,
	"appliance/policy":                        pure,
	"appliance/policy/document":               pure,
	"appliance/policy/replay":                 pure,
	"appliance/policy/review":                 pure,
	"appliance/sigformat":                     pure,
	"appliance/sigformat/envelope":            pure,
	"appliance/sigformat/hashstate":           pure,
	"appliance/sigformat/openpgp":             pure,
	"appliance/sigformat/openpgp/certificate": pure,
	"appliance/sigformat/openpgp/packet":      pure,
	"appliance/sigformat/openpgp/subkey":      pure,
	"appliance/sigformat/signing":             pure,
	"appliance/sigformat/sshsig":              pure,
	"appliance/sigformat/document":            pure,
	"appliance/sigformat/document/form":       pure,
	"appliance/sigformat/document/keys":       pure,
	"appliance/sigformat/document/release":    pure,
	"appliance/sigformat/strictjson":          pure,
	"appliance/enrol":                         edge,
	"appliance/enrol/genesis":                 edge,
	"appliance/enrol/logkey":                  edge,
	"appliance/enrol/progress":                edge,
	"appliance/enrol/sealed":                  edge,
	"appliance/enrol/stopped":                 edge,
	"appliance/enrol/transcript":              edge,
	"appliance/keeper":                        edge,
	"appliance/operator":                      pure,
	"appliance/operator/gpio":                 edge,
	"appliance/operator/panel":                edge,
	"appliance/operator/screen":               pure,
	"appliance/pcsc":                          edge,
	"appliance/pcsc/ccid":                     pure,
	"appliance/piv":                           edge,
	"appliance/sandbox":                       edge,
	"appliance/sandbox/profiles":              edge,
	"appliance/station":                       edge,
	"appliance/station/chain":                 edge,
	"appliance/station/linkproc":              edge,
	"appliance/station/loop":                  edge,
	"appliance/station/meaning":               pure,
	"appliance/station/orderdir":              edge,
	"appliance/station/past":                  edge,
	"appliance/update":                        pure,
	"appliance/update/fat":                    pure,
	"appliance/update/card":                   edge,
	"appliance/cmd/touchmark-appliance":       command,
	"appliance/cmd/touchmark-init":            command,
	"appliance/cmd/touchmark-link":            command,

	"hostlink/approve":             pure,
	"hostlink/approve/pacman":      edge,
	"hostlink/deb":                 pure,
	"hostlink/intoto":              pure,
	"hostlink/intoto/aptclient":    pure,
	"hostlink/keyring":             pure,
	"hostlink/binding":             pure,
	"hostlink/frame":               pure,
	"hostlink/gpgcompat":           pure,
	"hostlink/gpgcompat/reply":     pure,
	"hostlink/hostd/verify":        pure,
	"hostlink/message":             pure,
	"hostlink/message/canon":       pure,
	"hostlink/session":             pure,
	"hostlink/hostd":               edge,
	"hostlink/hostd/api":           edge,
	"hostlink/hostd/approvals":     pure,
	"hostlink/hostd/client":        edge,
	"hostlink/hostd/config":        edge,
	"hostlink/hostd/metrics":       edge,
	"hostlink/hostd/mirror":        edge,
	"hostlink/hostd/round":         pure,
	"hostlink/hostd/service":       edge,
	"hostlink/hostd/socket":        edge,
	"hostlink/hostd/spool":         edge,
	"hostlink/hostd/staging":       edge,
	"hostlink/hostd/watch":         edge,
	"hostlink/linkpipe":            edge,
	"hostlink/manpage":             edge,
	"hostlink/serialport":          edge,
	"hostlink/serialport/usbtty":   edge,
	"hostlink/cmd/touchmark":       command,
	"hostlink/cmd/touchmark-gpg":   command,
	"hostlink/cmd/touchmark-hostd": command,
	"hostlink/hostd/logtest":       test,

	"appliance/intake/intaketest": test,
	"appliance/update/cardtest":   test,
	"appliance/policy/policytest": test,
	"appliance/sigformat/sigtest": test,

	"image/board":               pure,
	"image/bootsig":             pure,
	"image/card":                pure,
	"image/cpio":                pure,
	"image/fat":                 pure,
	"image/manifest":            pure,
	"image/verify":              pure,
	"image/debian":              edge,
	"image/kernel":              edge,
	"image/recipe":              edge,
	"image/cmd/touchmark-image": command,

	"tpm/anchor":                       pure,
	"tpm/anchor/recovery":              pure,
	"tpm/audit":                        pure,
	"tpm/audit/challenge":              pure,
	"tpm/audit/ek":                     pure,
	"tpm/audit/finding":                pure,
	"tpm/audit/fold":                   pure,
	"tpm/audit/golden":                 pure,
	"tpm/audit/history":                pure,
	"tpm/audit/incremental":            pure,
	"tpm/audit/link":                   pure,
	"tpm/audit/published":              pure,
	"tpm/audit/report":                 pure,
	"tpm/audit/task":                   pure,
	"tpm/ledger":                       pure,
	"tpm/ledger/find":                  pure,
	"tpm/ledger/order":                 pure,
	"tpm/ledger/tokenkey":              pure,
	"tpm/quote":                        pure,
	"tpm/device":                       edge,
	"tpm/ledgerstore":                  edge,
	"tpm/ledgerstore/derived":          edge,
	"tpm/ledgerstore/segment":          edge,
	"tpm/ledgerstore/durable":          edge,
	"tpm/ledgerstore/tiles":            edge,
	"tpm/ledgerstore/durable/disktest": test,
	"tpm/cmd/touchmark-audit":          command,
	"tpm/ledger/tokenkey/tokenkeytest": test,
	"tpm/quote/quotetest":              test,

	"tests/bench":             test,
	"tests/bench/memory":      test,
	"tests/biglog":            test,
	"tests/cable":             test,
	"tests/consumers":         test,
	"tests/crash":             test,
	"tests/demo":              test,
	"tests/e2e":               test,
	"tests/guides":            test,
	"tests/image":             test,
	"tests/image/guest":       test,
	"tests/image/qemu":        test,
	"tests/imports":           test,
	"tests/packages":          test,
	"tests/pivemu":            test,
	"tests/pivemu/attest":     test,
	"tests/pivemu/cmd/pivemu": test,
	"tests/pivemu/front":      test,
	"tests/pivemu/iso7816":    test,
	"tests/pivemu/pivkey":     test,
	"tests/pivemu/redir":      test,
	"tests/pivemu/usb":        test,
	"tests/pivemu/vpcdtest":   test,
	"tests/powercut":          test,
	"tests/gpio":              test,
	"tests/gpio/guest":        test,
	"tests/serial":            test,
	"tests/serial/courier":    test,
	"tests/serial/guest":      test,
	"tests/serial/initrd":     test,
	"tests/soak":              test,
	"tests/swtpm":             test,
	"tests/systemd":           test,
	"tests/vectors":           test,
	"tests/world":             test,
}

// islands may import nothing of this module but each other: whoever reviews what a compromised host can reach reads
// these and stops.
var islands = []string{"hostlink/frame", "hostlink/session", "hostlink/message", "hostlink/message/canon"}

// forbiddenInPure are packages of the standard library (and what stands in for them) that no pure room imports itself.
// Sub-packages are included.
var forbiddenInPure = []string{
	"os", "net", "syscall", "crypto/rand", "math/rand", "os/exec", "io/ioutil", "log", "runtime", "plugin", "C",
	"golang.org/x/sys", "github.com/rs/zerolog", "github.com/spf13/cobra", "github.com/creack/pty",
	"github.com/google/go-tpm/tpm2/transport", "github.com/go-piv/piv-go",
}

// forbiddenInBinary names, per production command, what must not be linked into it, ours or foreign.
var forbiddenInBinary = map[string][]string{
	// The parser of what a hostile host sends: no device but the tty, and none of the rooms that hold secrets.
	"appliance/cmd/touchmark-link": {"appliance/piv", "appliance/pcsc", "appliance/station", "appliance/ceremony", "appliance/policy", "tpm",
		"github.com/go-piv/piv-go", "github.com/google/go-tpm", "runtime/cgo"},
	// The offline auditor: nothing that opens a device, a serial line or a token.
	"tpm/cmd/touchmark-audit": {"appliance/piv", "appliance/pcsc", "appliance/station", "hostlink/serialport", "hostlink/session", "hostlink/hostd", "tpm/device",
		"github.com/go-piv/piv-go", "github.com/google/go-tpm/tpm2/transport", "runtime/cgo"},
	// The board's core never parses the wire itself; that is touchmark-link's, in another process.
	"appliance/cmd/touchmark-appliance": {"hostlink/serialport", "hostlink/session", "hostlink/hostd", "net/http"},
	"hostlink/cmd/touchmark-hostd": {"appliance/piv", "appliance/pcsc", "appliance/station", "appliance/ceremony", "tpm/device",
		"github.com/go-piv/piv-go", "github.com/google/go-tpm/tpm2/transport", "runtime/cgo"},
	"hostlink/cmd/touchmark": {"appliance/piv", "appliance/pcsc", "appliance/station", "appliance/ceremony", "tpm/device", "hostlink/serialport",
		"github.com/go-piv/piv-go", "github.com/google/go-tpm/tpm2/transport", "runtime/cgo"},
}

// exceptions to forbiddenInBinary: a pure part below a forbidden room.
var allowedInBinary = map[string][]string{
	"tpm/cmd/touchmark-audit":      {"appliance/piv/attest"},
	"hostlink/cmd/touchmark-hostd": {"appliance/piv/attest"},
	"hostlink/cmd/touchmark":       {"appliance/piv/attest"},
}

// topLevel is everything that may stand at the top of the repository (tracked files only).
var topLevel = []string{
	"appliance", "hostlink", "tpm", "image", "tests", "docs", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
}
