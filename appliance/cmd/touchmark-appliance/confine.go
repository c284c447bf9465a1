package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/cli"
	"touchmark/appliance/keeper"
	"touchmark/appliance/operator/gpio"
	"touchmark/appliance/sandbox"
	"touchmark/appliance/sandbox/profiles"
	"touchmark/appliance/station"
	"touchmark/appliance/update/card"
)

// A link process that says much must not fill the disk: so many lines in a period
// are written.
const (
	linkLogBurst  = 32
	linkLogPeriod = 10 * time.Second
)

// users are whom the two processes of a board become.
type users struct{ core, link *sandbox.User }

// users reads the flags about them. One that is no root's stands for both.
func (f *runFlags) users() (u users, err error) {
	if f.user != "" && f.linkUser == "" {
		return u, &cli.UsageError{Err: errors.New("--user: give --link-user too, or the link process stays root's")}
	}
	for _, one := range []struct {
		flag, name string
		to         **sandbox.User
	}{{"user", f.user, &u.core}, {"link-user", f.linkUser, &u.link}} {
		if one.name == "" {
			continue
		}
		if *one.to, err = sandbox.ParseUser(one.name); err != nil {
			return u, &cli.UsageError{Err: fmt.Errorf("--%s: %w", one.flag, err)}
		}
	}
	if u.core != nil && u.core.UID == u.link.UID {
		return u, &cli.UsageError{Err: errors.New("--user and --link-user: two users are wanted, so that one process cannot reach into the other")}
	}
	return u, nil
}

// confine puts this process into its sandbox, for which it executes itself, unless who
// started it has done that; before that it starts the keeper of the link process, because
// afterwards it executes nothing.
func (f *runFlags) confine(ctx context.Context) (r sandbox.Report, err error) {
	p := f.profile()
	if !sandbox.Entered() {
		u, err := f.users()
		if err != nil {
			return r, err
		}
		signal.Reset(os.Interrupt, syscall.SIGTERM) // from here to the second stage they end it at once
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err := f.launch(u); err != nil {
			return r, err
		}
		p.User = u.core
	}
	return sandbox.Enter(p)
}

func (f *runFlags) launch(u users) error {
	args := []string{"--keep", "--device", f.device, "--baud", strconv.Itoa(f.baud)}
	if u.link != nil {
		args = append(args, "--user", u.link.String())
	}
	if u.core != nil {
		if err := os.Lchown(f.runDir, u.core.UID, u.core.GID); err != nil {
			return fmt.Errorf("giving %s to the user: %w", f.runDir, err)
		}
	}
	if err := f.ownMeasured(true); err != nil {
		return fmt.Errorf("--measured %d: %w", f.measured, err)
	}
	begin := func(cmd *exec.Cmd) error { return sandbox.Command(profiles.Keeper(f.device), cmd) }
	pipes, err := keeper.Launch(begin, f.link, args...)
	if err := f.ownMeasured(false); err != nil {
		return err
	}
	if err != nil { // the board comes up all the same, and says so
		return os.Setenv(keeper.None, err.Error())
	}
	return os.Setenv(keeper.PipesTo, string(pipes))
}

// profile is what core needs.
func (f *runFlags) profile() sandbox.Profile {
	c := profiles.Core{Dir: f.dir, RunDir: f.runDir, Orders: f.orders, Card: f.card.path, BootID: card.BootID, USB: !f.token.OverSocket(), Sockets: f.token.OverSocket()}
	if strings.Contains(f.tpm, ":") {
		c.Sockets = true // a software TPM
	} else {
		c.TPM = f.tpm
	}
	if pins, err := gpio.ParsePins(f.panel.Buttons); err == nil {
		c.Buttons = pins.Chip
	}
	return c.Profile()
}

// links gives the station its link processes, and ends ctx when there can be no
// more of them; missing says why there is none at all.
func links(ctx context.Context, log zerolog.Logger) (_ context.Context, link func(context.Context) (station.Link, error), missing string, err error) {
	pipes, missing := os.Getenv(keeper.PipesTo), os.Getenv(keeper.None)
	if err := errors.Join(os.Unsetenv(keeper.PipesTo), os.Unsetenv(keeper.None)); err != nil {
		return nil, nil, "", err
	}
	if missing != "" {
		return ctx, func(context.Context) (station.Link, error) { return nil, errors.New(missing) }, "No host can be heard: " + missing + ".", nil
	}
	log = log.Sample(&zerolog.BurstSampler{Burst: linkLogBurst, Period: linkLogPeriod})
	k, err := keeper.Attach(keeper.Pipes(pipes), func(line string) { log.Warn().Str("link", line).Send() })
	if err != nil {
		return nil, nil, "", err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-k.Gone():
			cancel(keeper.ErrGone)
		case <-ctx.Done():
		}
	}()
	return ctx, func(ctx context.Context) (station.Link, error) { return k.Start(ctx) }, "", nil
}
