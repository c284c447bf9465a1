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
	"os"
	"path/filepath"
	"time"

	"touchmark/appliance/operator"
	"touchmark/tests/cable"
	"touchmark/tests/swtpm"
)

// Facts every world shares.
const (
	Origin      = "touchmark.example/demo"
	UserID      = "Touchmark demo <demo@touchmark.example>"
	PIN         = "123456" // of the emulated token, as a new YubiKey's
	Serial      = 10000001 // of the emulated token
	SpareSerial = 10000002 // of the second one
)

// Wrapper gives the command line that starts a program ("appliance", "hostd") in place of argv; it must end with the
// program, with its exit code, and pass on SIGTERM.
type Wrapper func(program string, argv []string) []string

// Config says what world to make. Dir and Bin are required.
type Config struct {
	Dir       string                     // everything is made below here
	Bin       string                     // where the programs are (build/bin)
	Algorithm string                     // of the token's key: p256 (default), rsa2048, …
	Profile   string                     // firmware the token emulates: 5.7.1 (default) or 5.4.3
	Touch     string                     // who touches: ask (default: World.Token), auto or never
	Window    time.Duration              // how long the token waits for a touch; default an hour: on a busy machine a real one's may end by itself
	Baud      int                        // of both serial ports; default 115200, which ptys ignore
	Policy    func(toml string) string   // last word on the policy's text; nil leaves it
	Enrolment []string                   // more flags of touchmark-appliance enroll
	Secret    func(operator.View) string // what the operator types where the ceremony asks for PIN or PUK; nil: PIN
	Two       bool                       // there is a second token, World.Spare
	HostTOML  string                     // more of the daemon's configuration
	TPM       *swtpm.Server              // nil: one of the world's own
	Wrap      Wrapper                    // starts appliance and hostd in another way; nil: directly
	ViaPCSCD  bool                       // the board's build with the tag pcscd, over the system's pcscd …
	VPCD      string                     // … whose vpcd listens here: host:port
	USBRedir  string                     // socket of a virtual machine's usb-redir device, into which the token is plugged too
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
	if c.Window == 0 {
		c.Window = time.Hour
	}
	if c.Baud == 0 {
		c.Baud = 115200
	}
	if c.Secret == nil {
		c.Secret = func(operator.View) string { return PIN }
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
// from others too as long as the appliance is not restarted meanwhile.
type World struct {
	Config
	Paths
	Cable *cable.Cable
	Token *Token
	Spare *Token // of Config.Two, plugged in at first; the board's programs take one at a time, or ask which

	ownTPM bool
	pivemu *Process
	second *Process // the spare's emulator
	board  *board
	hostd  *Process
}

// Paths are the places inside a world's directory.
type Paths struct {
	Sockets string // sockets and ttys; the only place that may be outside the directory
	Logs    string // what each program wrote to stderr
	Board   string // the appliance's state
	Host    string // the daemon's state, keys, configuration
	Mirror  string // the published log
	Trust   string // what an auditor pins
	Admins  string // what the administrators take home from the enrolment: its transcript, the TPM's authorizations
	Socket  string // the daemon's
	Control string // the token's
}

// sun_path holds 107 bytes and a NUL (unix(7)).
const (
	longestSocketName = len("/token-control.sock")
	longestSocketPath = 100
)

func makePaths(dir string) (Paths, error) {
	p := Paths{
		Sockets: filepath.Join(dir, "run"), Logs: filepath.Join(dir, "logs"), Board: filepath.Join(dir, "board"),
		Host: filepath.Join(dir, "host"), Mirror: filepath.Join(dir, "log"), Trust: filepath.Join(dir, "trust"),
		Admins: filepath.Join(dir, "admins"),
	}
	if len(p.Sockets)+longestSocketName > longestSocketPath {
		short, err := os.MkdirTemp("", "tm-")
		if err != nil {
			return p, err
		}
		p.Sockets = short
	}
	for _, d := range []string{p.Sockets, p.Logs, p.Host, p.Admins} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return p, err
		}
	}
	p.Socket = filepath.Join(p.Sockets, "hostd.sock")
	p.Control = filepath.Join(p.Sockets, "token-control.sock")
	return p, nil
}

// New starts the hardware: TPM, token, cable. Enrol, StartAppliance and StartHostd bring up the rest; Up does it all.
// What was started is stopped again on error.
func New(ctx context.Context, cfg Config) (*World, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &World{Config: cfg}
	if err := w.plugIn(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) plugIn(ctx context.Context) (err error) {
	if w.Paths, err = makePaths(w.Dir); err != nil {
		return err
	}
	if w.TPM == nil {
		if w.TPM, err = swtpm.StartDir(filepath.Join(w.Dir, "tpm")); err != nil {
			return err
		}
		w.ownTPM = true
	}
	if w.Cable, err = cable.New(w.Sockets); err != nil {
		return err
	}
	if err := w.startToken(ctx); err != nil || !w.Two {
		return err
	}
	return w.startSpare(ctx)
}

// Up makes a world and brings it all up, enrolled and ready to sign.
func Up(ctx context.Context, cfg Config) (*World, error) {
	w, err := New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{w.Enrol, w.StartAppliance, w.StartHostd} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// Close stops every program that runs, host first so that nothing asks a board that is going, and unplugs the cable.
func (w *World) Close() error {
	w.StopHostd()
	w.StopAppliance()
	for _, p := range []*Process{w.pivemu, w.second} {
		if p != nil {
			p.Stop()
		}
	}
	if w.Cable != nil {
		w.Cable.Close()
	}
	var err error
	if w.ownTPM {
		err = w.TPM.Stop()
	}
	if w.Sockets != "" && filepath.Dir(w.Sockets) != w.Dir {
		err = errors.Join(err, os.RemoveAll(w.Sockets))
	}
	return err
}

// Transcript is the file in which the enrolment tells what was done, EndorsementAuth the one with
// the authorization of the TPM's endorsement hierarchy, Identity that of the administrator who can read it.
func (p Paths) Transcript() string { return filepath.Join(p.Admins, "transcript.txt") }
func (p Paths) EndorsementAuth() string {
	return filepath.Join(p.Admins, "hierarchy-endorsement-touchmark.example_demo.age")
}
func (p Paths) Identity() string { return filepath.Join(p.Admins, "age.key") }

// Env are the environment variables that let our host programs find this world.
func (w *World) Env() []string {
	return []string{"TOUCHMARK_SOCKET=" + w.Socket, "TOUCHMARK_TRUST=" + w.Trust, "TOUCHMARK_LOG=" + w.Mirror}
}
