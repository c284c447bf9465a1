package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/cli/datadir"
	"touchmark/appliance/cli/status"
	"touchmark/appliance/keeper"
	"touchmark/appliance/station"
	"touchmark/tpm/ledgerstore/durable"
)

type runFlags struct {
	dir, tpm, link, device, clock, runDir, orders string
	user, linkUser                                string
	notice                                        string
	baud, measured                                int
	lockPlatform                                  bool
	panel                                         cli.PanelFlags
	token                                         cli.TokenFlags
	card                                          cardFlags
}

func runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run --dir DIR --device TTY",
		Short: "Serve one repository host: show, arm, touch, sign",
		Long: `Serve one repository host over a serial line.

The operator's console fills this terminal, 40 by 12 cells at least, and names
the keys that do something at its bottom; Tab turns to what was before and to the
board's health. With --operator lines, commands are read from standard input, one
a line ("pin DIGITS", "arm JOB", "deny JOB", "time yes", "quit"), and the
display is written to standard output as JSON, one object a line. With --operator
none there are only --buttons: nobody sees what is signed.

It keeps nothing that it does not need: no file but DIR and the devices, no
other program, no socket (docs/threat-model.md). What the kernel cannot take
from it is said on the display. Started as root, give it two users to become.

SIGTERM, SIGINT, "quit" and a terminal that is gone deny an armed job, record
that, and stop; a second signal ends the process at once.`,
		Example: `  touchmark-appliance run --dir /data/touchmark --device /dev/ttyGS0
  touchmark-appliance run --dir /data/touchmark --device /dev/ttyUSB0 --baud 921600 --operator lines
  touchmark-appliance run --dir /data/touchmark --device /dev/ttyGS0 \
      --buttons /dev/gpiochip0:arm=17,deny=27,green=22,red=23`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return run(c.Context(), f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", "", "data directory made by enroll")
	flags.StringVar(&f.tpm, "tpm", "/dev/tpmrm0", "TPM: a device, or swtpm:/path/to/socket")
	flags.StringVar(&f.device, "device", "", "serial line to the repository host")
	flags.IntVar(&f.baud, "baud", 115200, "its rate")
	flags.StringVar(&f.link, "link", "", "the touchmark-link program (default: beside this one)")
	flags.StringVar(&f.clock, "clock", "ask", "ask: the operator confirms the time at start; system: it is right already")
	flags.StringVar(&f.runDir, "run-dir", "", "where the status file goes, best a tmpfs (default: DIR/run)")
	flags.StringVar(&f.orders, "orders", "", "directory that administrators' orders and policies are brought to as NAME.note, such as where a USB stick is mounted")
	flags.StringVar(&f.user, "user", "", "whom the core becomes when root starts it: a name, or UID:GID[,GID...]")
	flags.StringVar(&f.linkUser, "link-user", "", "whom the process that parses the wire becomes")
	flags.IntVar(&f.measured, "measured", 0, "descriptor on which the first process of an image says, when it knows them, the SHA-256 of boot image, command line and programs, for the boot entry (0: nobody does)")
	flags.BoolVar(&f.lockPlatform, "lock-platform", false, "the TPM's platform authorization is this board's, and empty after each reset of the TPM: replace it by a random one that nobody keeps, or sign nothing (for an image; elsewhere the platform is the firmware's)")
	flags.StringVar(&f.notice, "notice", "", "what that process has to say to the operator")
	f.panel.Add(c)
	f.panel.AddButtons(c)
	f.token.Add(c)
	f.card.add(c)
	cli.Required(c, "dir", "device")
	return c
}

// run opens everything a station is made of and serves until it is told to stop.
func run(ctx context.Context, f runFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	// A terminal that hangs up is noticed by who reads it, and then the operator is
	// gone; the signal would end this process, or the keeper that it starts, in the
	// middle of a ceremony.
	signal.Ignore(syscall.SIGHUP)
	report, err := f.confine(ctx)
	if err != nil {
		return err
	}
	tpm := &datadir.LateTPM{Spec: f.tpm}
	defer tpm.Close()
	go func() { _, _ = tpm.Open() }() // beside what follows; what goes wrong is met again when it is asked
	b, err := datadir.Open(f.dir)
	if err != nil {
		return err
	}
	defer b.Close()
	panel, err := f.panel.Open(f.runDir)
	if err != nil {
		return err
	}
	defer panel.Restore()
	ctx, link, missing, err := links(ctx, panel.Log)
	if err != nil {
		return err
	}
	b.Tidy(panel.Log, f.dir, f.runDir)
	shown := status.New(f.runDir)
	defer shown.Close()
	start := time.Now()
	c := b.Config()
	c.TPM, c.Token, c.Link, c.Updates = tpm, f.token.Opener(), link, f.card.updates(tpm)
	c.Panel, c.Log, c.Status = panel, panel.Log, shown.Show
	c.Clock = func() time.Time { return start.Add(time.Since(start)) } // monotonic from here on
	c.Confirm, c.Orders = f.clock == "ask", f.orders
	c.Measured, c.Notice = f.booted(panel.Log), strings.TrimSpace(f.notice+" "+missing+" "+report.String())
	if f.lockPlatform {
		c.Platform = tpm.LockPlatform
	}
	if len(report.Missing) > 0 {
		panel.Log.Warn().Strs("missing", report.Missing).Msg("the sandbox is not whole")
	}
	station.New(c).Run(ctx)
	if err := context.Cause(ctx); errors.Is(err, keeper.ErrGone) {
		return err
	}
	return nil
}

// check says what is wrong with the flags, and fills in those that depend on others.
func (f *runFlags) check() error {
	if f.clock != "ask" && f.clock != "system" {
		return &cli.UsageError{Err: fmt.Errorf("--clock %s: it is ask or system", f.clock)}
	}
	if err := f.panel.Check(); err != nil {
		return err
	}
	if err := f.card.check(); err != nil {
		return err
	}
	if f.panel.Kind == cli.NoScreen && f.clock != "system" {
		return &cli.UsageError{Err: errors.New("--operator none: nobody could confirm the time: give --clock system, on a board whose clock is kept right")}
	}
	return f.defaults()
}

// defaults fills in what depends on other flags.
func (f *runFlags) defaults() error {
	if f.runDir == "" {
		f.runDir = filepath.Join(f.dir, "run")
	}
	if f.link == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		f.link = filepath.Join(filepath.Dir(self), "touchmark-link")
	}
	if _, err := os.Stat(f.link); err != nil {
		return fmt.Errorf("the link program: %w: name it with --link", err)
	}
	if _, err := os.Stat(f.dir); errors.Is(err, os.ErrNotExist) { // what else may be wrong with it the display says
		return fmt.Errorf("%w: %w: run 'touchmark-appliance enroll' first", cli.ErrEnrolment, err)
	}
	if _, err := os.Stat(f.runDir); err == nil {
		return nil // the second stage could not sync what is above it
	}
	if err := durable.MkdirAll(f.runDir, 0o700); err != nil { // without it there is no status file
		fmt.Fprintln(os.Stderr, "touchmark-appliance:", err)
	}
	return nil
}
