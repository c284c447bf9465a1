// Package world starts everything there is — software TPM, emulated token, cable, board, host daemon — in one directory,
// and gives tests, benchmarks and the demo the hands to arm, deny, touch, pull, kill and restart.
//
// The programs are the real ones, as built into build/bin and driven over the interfaces their users have: command lines,
// the operator's panel, the daemon's socket. Nothing waits by sleeping; nothing uses a fixed port or a path outside the
// directory (but for sockets, when the directory's path is too long for them), so worlds run side by side.
//
// Close stops every program by its own process id, and the kernel does so should the process that holds the world die.
package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"touchmark/tests/cable"
	"touchmark/tests/swtpm"
)

// Facts every world shares.
const (
	Origin = "touchmark.example/demo"
	UserID = "Touchmark demo <demo@touchmark.example>"
	PIN    = "123456" // of the emulated token, as a new YubiKey's
	Serial = 10000001 // of the emulated token
)

// Limits on waiting: each is many times what a loaded two-core machine needs; running into one is a failure, not a pace.
const (
	enrolLimit = 2 * time.Minute
	readyLimit = time.Minute
)

// Config says what world to make. Dir and Bin are required.
type Config struct {
	Dir       string                   // everything is made below here
	Bin       string                   // where the programs are (build/bin)
	Algorithm string                   // of the token's key: p256 (default) or rsa2048
	Profile   string                   // firmware the token emulates: 5.7.1 (default) or 5.4.3
	Touch     string                   // ask (default), auto or never
	Baud      int                      // of both serial ports; default 115200
	Policy    func(toml string) string // last word on the policy's text; nil leaves it
	ViaPCSCD  bool                     // the board's build with the tag pcscd, over the system's pcscd and vpcd
	PCSCD     string                   // with ViaPCSCD: host:port of the vpcd that the token connects to
}

func (c Config) withDefaults() (Config, error) {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&c.Algorithm, "p256")
	set(&c.Profile, "5.7.1")
	set(&c.Touch, "ask")
	if c.Baud == 0 {
		c.Baud = 115200
	}
	for _, dir := range []*string{&c.Dir, &c.Bin} {
		if *dir == "" {
			return c, errors.New("world: Dir and Bin are required")
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return c, err
		}
		*dir = abs
	}
	return c, nil
}

// World is one running world. Its methods are for one goroutine, but for Views, Operator and Token, which may be used
// from others too.
type World struct {
	Config
	Paths
	TPM   *swtpm.Server
	Cable *cable.Cable
	Token *Token

	pivemu, appliance, hostd *Process
	panel                    *panel
}

// Paths are the places inside a world's directory.
type Paths struct {
	Run     string // sockets and ttys; the only place that may be outside the directory
	Logs    string // what each program wrote to stderr
	Board   string // the appliance's state
	Host    string // the daemon's state, keys, configuration
	Mirror  string // the published log
	Trust   string // what an auditor pins
	Cert    string // OpenPGP certificate, armored
	Socket  string // the daemon's
	Control string // the token's
}

// longestSocketName is the longest name below Run; sun_path holds 107 bytes and a NUL (unix(7)), contracts keep to 100.
const (
	longestSocketName = len("/token-control.sock")
	longestSocketPath = 100
)

func makePaths(dir string) (Paths, error) {
	p := Paths{
		Run: filepath.Join(dir, "run"), Logs: filepath.Join(dir, "logs"), Board: filepath.Join(dir, "board"), Host: filepath.Join(dir, "host"),
		Mirror: filepath.Join(dir, "log"), Trust: filepath.Join(dir, "trust"), Cert: filepath.Join(dir, "cert.asc"),
	}
	if len(p.Run)+longestSocketName > longestSocketPath {
		short, err := os.MkdirTemp("", "tm-")
		if err != nil {
			return p, err
		}
		p.Run = short
	}
	for _, d := range []string{p.Run, p.Logs, p.Host} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return p, err
		}
	}
	p.Socket = filepath.Join(p.Run, "hostd.sock")
	p.Control = filepath.Join(p.Run, "token-control.sock")
	return p, nil
}

// New starts the hardware: TPM, token, cable. Enrol, StartAppliance and StartHostd bring up the rest; Up does all three.
func New(ctx context.Context, cfg Config) (w *World, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	w = &World{Config: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if w.Paths, err = makePaths(cfg.Dir); err != nil {
		return w, err
	}
	if w.TPM, err = swtpm.StartDir(filepath.Join(w.Dir, "tpm")); err != nil {
		return w, err
	}
	if w.Cable, err = cable.New(w.Run); err != nil {
		return w, err
	}
	return w, w.startToken(ctx)
}
