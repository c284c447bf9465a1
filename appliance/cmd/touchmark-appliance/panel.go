package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/gpio"
	operatorpanel "touchmark/appliance/operator/panel"
)

// panelFlags choose the operator's panel.
type panelFlags struct {
	kind, buttons string
	headless      bool // the command can do without a screen
	pins          gpio.Pins
}

// noScreen is the panel that has nothing but buttons and lamps.
const noScreen = "none"

func (f *panelFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.kind, "operator", "console", "console: a full-screen terminal; lines: JSON out, commands in")
}

// addButtons is for a command that buttons are enough for.
func (f *panelFlags) addButtons(c *cobra.Command) {
	f.headless = true
	c.Flags().StringVar(&f.buttons, "buttons", "", "pins of buttons and lamps, beside the console or with --operator none: CHIP:arm=N,deny=N,green=N,red=N")
}

// check finds what is wrong with the flags themselves.
func (f *panelFlags) check() (err error) {
	switch {
	case f.kind != "console" && f.kind != "lines" && (f.kind != noScreen || !f.headless):
		return &usageError{fmt.Errorf("--operator %s: it is console or lines, for 'run' also none", f.kind)}
	case f.kind == noScreen && f.buttons == "":
		return &usageError{errors.New("--operator none: name the --buttons")}
	case f.kind == "lines" && f.buttons != "":
		return &usageError{errors.New("--buttons go with --operator console or none")}
	case f.buttons == "":
		return nil
	}
	if f.pins, err = gpio.ParsePins(f.buttons); err != nil {
		return &usageError{fmt.Errorf("--buttons: %w", err)}
	}
	return nil
}

// panel is the operator's panel and where the log goes beside it.
type panel struct {
	operator.Panel
	log     zerolog.Logger
	restore func()
}

// open takes over the terminal or the standard streams, and the buttons.
func (f *panelFlags) open(runDir string) (*panel, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.buttons == "" {
		p, _, err := f.screen(runDir)
		return p, err
	}
	fittings, err := gpio.Open(f.pins)
	if err != nil {
		return nil, err
	}
	p, face, err := f.screen(runDir)
	if err != nil {
		return nil, errors.Join(err, fittings.Close())
	}
	p.fit(face, fittings)
	return p, nil
}

// screen takes over the terminal or the standard streams; face is what buttons can
// be put on. The console needs the whole screen, so the log then goes to a file.
func (f *panelFlags) screen(runDir string) (*panel, operatorpanel.Face, error) {
	if f.kind == "console" {
		log := zerolog.Nop() // a disk that takes no log is no reason to stay dark
		if file, err := openLog(filepath.Join(runDir, "appliance.log"), maxLog); err == nil {
			log = zerolog.New(file).With().Timestamp().Logger()
		}
		c, restore, err := operatorpanel.OpenConsole(os.Stdin, os.Stdout)
		if err != nil {
			return nil, nil, err
		}
		return &panel{c, log, restore}, c, nil
	}
	log := zerolog.New(os.Stderr).With().Timestamp().Logger()
	if f.kind == noScreen {
		h := operatorpanel.NewHeadless()
		return &panel{h, log, func() {}}, h, nil
	}
	l := operatorpanel.NewLines(os.Stdin, os.Stdout)
	return &panel{l, log, l.Close}, nil, nil
}

// fit puts buttons and lamps on the panel until it is restored. Where there is
// nothing else, the operator is gone with them.
func (p *panel) fit(face operatorpanel.Face, f operatorpanel.Fittings) {
	ctx, stop := context.WithCancel(context.Background())
	tick := time.NewTicker(operatorpanel.LampTick)
	var done sync.WaitGroup
	done.Go(func() {
		if err := operatorpanel.Fit(ctx, face, f, tick.C); err != nil {
			p.log.Error().Err(err).Msg("the buttons are gone")
		}
		if h, ok := face.(*operatorpanel.Headless); ok {
			h.Leave()
		}
	})
	restore := p.restore
	p.restore = func() { stop(); done.Wait(); tick.Stop(); restore() }
}
