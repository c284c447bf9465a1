// Command pivemu is an emulated YubiKey: see touchmark/tests/pivemu.
//
//	pivemu --state FILE [--socket PATH] [--control PATH] [--vpcd HOST:PORT]
//	       [--usb-redir PATH] [--profile 5.4.3|5.7.1] [--serial N] [--touch auto|never|ask]
//	       [--touch-timeout 15s] [--log FILE]
//	pivemu control PATH COMMAND…     one command to a running one's control socket
//	pivemu root                      the attestation root, in PEM
//	pivemu with-pcscd [--dir DIR] [--no-token] [token flags] [-- COMMAND…]
//	                                 COMMAND beside a private pcscd with the token in it;
//	                                 without one, the reader stays and says how to reach it
//
// Once it can be reached, it prints one line, "ready …".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
	"touchmark/tests/pivemu/vpcdtest"
)

func main() {
	vpcdtest.Main()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		code, err = 2, nil
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pivemu:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string, out io.Writer) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("nothing to do: see --help")
	}
	switch args[0] {
	case "control":
		return 0, control(ctx, args[1:], out)
	case "root":
		text, err := pivemu.RootPEM()
		if err == nil {
			_, err = out.Write(text)
		}
		return 0, err
	case "with-pcscd":
		return withPCSCD(ctx, args[1:], out)
	}
	return 0, serve(ctx, args, out)
}

// tokenFlags are the flags that describe the token.
type tokenFlags struct {
	profile, touch, state string
	serial                uint
	timeout               time.Duration
}

func (t *tokenFlags) register(f *flag.FlagSet) {
	f.StringVar(&t.profile, "profile", "", "firmware `VERSION`: 5.4.3 or 5.7.1 (new tokens: 5.7.1)")
	f.UintVar(&t.serial, "serial", 0, "serial `NUMBER` (new tokens: 12345678)")
	f.StringVar(&t.state, "state", "", "`FILE` that keeps the token")
	f.StringVar(&t.touch, "touch", "auto", "who touches: auto, never or ask (the control socket)")
	f.DurationVar(&t.timeout, "touch-timeout", 15*time.Second, "how long a touch is awaited")
}

func control(ctx context.Context, args []string, out io.Writer) error {
	if len(args) < 2 {
		return errors.New("usage: pivemu control PATH COMMAND…")
	}
	answer, err := front.Ask(ctx, args[0], strings.Join(args[1:], " "))
	if err == nil && answer != "" {
		_, err = fmt.Fprintln(out, answer)
	}
	return err
}

// endpoints are the flags that say how to reach the token.
type endpoints struct{ socket, control, vpcd, redir, log string }

func serve(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("pivemu", flag.ContinueOnError)
	var t tokenFlags
	var e endpoints
	t.register(f)
	f.StringVar(&e.socket, "socket", "", "unix socket `PATH` for a reader")
	f.StringVar(&e.control, "control", "", "unix socket `PATH` for commands")
	f.StringVar(&e.vpcd, "vpcd", "", "`HOST:PORT` of a vpcd to connect to")
	f.StringVar(&e.redir, "usb-redir", "", "unix socket `PATH` of a virtual machine's usb-redir device")
	f.StringVar(&e.log, "log", "", "APDU log `FILE`, appended to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 0 {
		return fmt.Errorf("no command %q: see --help", f.Arg(0))
	}
	if e.socket == "" && e.vpcd == "" && e.redir == "" {
		return errors.New("nobody could reach the token: give --socket, --vpcd or --usb-redir")
	}
	card, err := openCard(t, e.log)
	if err != nil {
		return err
	}
	return serveCard(ctx, card, e, out)
}

func openCard(t tokenFlags, logPath string) (*pivemu.Card, error) {
	if t.serial > 1<<32-1 {
		return nil, errors.New("the serial number has 32 bits")
	}
	var log io.Writer
	if logPath != "" {
		file, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		log = file
	}
	serial := uint32(t.serial)
	if _, err := os.Stat(t.state); serial == 0 && (t.state == "" || err != nil) {
		serial = 12345678
	}
	return pivemu.New(pivemu.Config{
		Profile: t.profile, Serial: serial, StatePath: t.state, Log: log,
		Touch: pivemu.TouchMode(t.touch), TouchTimeout: t.timeout,
	})
}

func serveCard(ctx context.Context, card *pivemu.Card, e endpoints, out io.Writer) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	port := front.NewPort(card)
	defer port.Close()
	if e.control != "" {
		c, err := port.ServeControl(e.control, quit)
		if err != nil {
			return err
		}
		defer c.Close()
	}
	if e.socket != "" {
		if err := port.ServeUnix(e.socket); err != nil {
			return err
		}
	}
	if e.vpcd != "" {
		if err := port.DialVPCD(e.vpcd); err != nil {
			return err
		}
	}
	if e.redir != "" {
		if err := port.DialUSB(e.redir); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "ready serial=%d firmware=%s\n", card.Serial(), card.Firmware()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
