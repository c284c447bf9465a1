// Command demo is what `make demo`, `make demo-up` and `make demo-down` run: the main job on emulated hardware, told step
// by step, and the same world left running for people to try.
//
//	demo run  --dir build/demo --bin build/bin    the whole story; ends with everything stopped
//	demo up   --dir … --bin …                     brings the world up and leaves it running
//	demo down --dir …                             stops it
//	demo console --dir …                          the operator's display and keys of a running world
//
// Everything it makes is below --dir. Every program it starts dies with it, also on Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// options are the flags and what the environment adds.
type options struct {
	dir, bin string
	auto     bool   // no person: arm and touch by itself
	touch    string // DEMO_TOUCH, for up
}

var commands = map[string]func(context.Context, options) error{
	"run": run, "up": up, "down": down, "console": console, "serve": serve,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once; the kernel then takes its programs
	err := dispatch(ctx, os.Args[1:])
	if ctx.Err() != nil && err != nil { // whatever broke, broke because of that
		err = errors.New("interrupted; everything it started is stopped")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("usage: demo run|up|down|console [--dir DIR] [--bin DIR]")
	}
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "build/demo", "where everything is made")
	flags.StringVar(&o.bin, "bin", "build/bin", "where the programs are")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, p := range []*string{&o.dir, &o.bin} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	o.auto = os.Getenv("DEMO_AUTO") == "1"
	o.touch = os.Getenv("DEMO_TOUCH")
	return commands[args[0]](ctx, o)
}
