package cli

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

// PanelFlags choose the operator's panel.
type PanelFlags struct {
	Kind, Buttons string
	headless      bool // the command can do without a screen
	pins          gpio.Pins
}

// NoScreen is the panel that has nothing but buttons and lamps.
const NoScreen = "none"

// Add adds them to a command.
func (f *PanelFlags) Add(c *cobra.Command) {
	c.Flags().StringVar(&f.Kind, "operator", "console", "console: a full-screen terminal; lines: JSON out, commands in")
}

// AddButtons is for a command that buttons are enough for.
func (f *PanelFlags) AddButtons(c *cobra.Command) {
	f.headless = true
	c.Flags().StringVar(&f.Buttons, "buttons", "", "pins of buttons and lamps, beside the console or with --operator none: CHIP:arm=N,deny=N,green=N,red=N")
}

// Check finds what is wrong with the flags themselves.
func (f *PanelFlags) Check() (err error) {
	switch {
	case f.Kind != "console" && f.Kind != "lines" && (f.Kind != NoScreen || !f.headless):
		return &UsageError{fmt.Errorf("--operator %s: it is console or lines, for 'run' also none", f.Kind)}
	case f.Kind == NoScreen && f.Buttons == "":
		return &UsageError{errors.New("--operator none: name the --buttons")}
	case f.Kind == "lines" && f.Buttons != "":
		return &UsageError{errors.New("--buttons go with --operator console or none")}
	case f.Buttons == "":
		return nil
	}
	if f.pins, err = gpio.ParsePins(f.Buttons); err != nil {
		return &UsageError{fmt.Errorf("--buttons: %w", err)}
	}
	return nil
}

// Panel is the operator's panel and where the log goes beside it.
type Panel struct {
	operator.Panel
	Log     zerolog.Logger
	Restore func() // gives the terminal back
}

// Open takes over the terminal or the standard streams, and the buttons.
func (f *PanelFlags) Open(runDir string) (*Panel, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	if f.Buttons == "" {
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
func (f *PanelFlags) screen(runDir string) (*Panel, operatorpanel.Face, error) {
	if f.Kind == "console" {
		log := zerolog.Nop() // a disk that takes no log is no reason to stay dark
		if file, err := openLog(filepath.Join(runDir, "appliance.log"), maxLog); err == nil {
			log = zerolog.New(file).With().Timestamp().Logger()
		}
		c, restore, err := operatorpanel.OpenConsole(os.Stdin, os.Stdout)
		if err != nil {
			return nil, nil, err
		}
		return &Panel{c, log, restore}, c, nil
	}
	log := zerolog.New(os.Stderr).With().Timestamp().Logger()
	if f.Kind == NoScreen {
		h := operatorpanel.NewHeadless()
		return &Panel{h, log, func() {}}, h, nil
	}
	l := operatorpanel.NewLines(os.Stdin, os.Stdout)
	return &Panel{l, log, l.Close}, nil, nil
}

// fit puts buttons and lamps on the panel until it is restored. Where there is
// nothing else, the operator is gone with them.
func (p *Panel) fit(face operatorpanel.Face, f operatorpanel.Fittings) {
	ctx, stop := context.WithCancel(context.Background())
	tick := time.NewTicker(operatorpanel.LampTick)
	var done sync.WaitGroup
	done.Go(func() {
		if err := operatorpanel.Fit(ctx, face, f, tick.C); err != nil {
			p.Log.Error().Err(err).Msg("the buttons are gone")
		}
		if h, ok := face.(*operatorpanel.Headless); ok {
			h.Leave()
		}
	})
	restore := p.Restore
	p.Restore = func() { stop(); done.Wait(); tick.Stop(); restore() }
}
