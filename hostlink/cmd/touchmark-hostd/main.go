// Touchmark-hostd owns the serial line to a signing appliance, mirrors and
// checks its log, and serves the touchmark command over a unix socket.
// docs/host-guide.md says how to set it up.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/config"
	"touchmark/hostlink/hostd/service"
	"touchmark/hostlink/hostd/socket"
	"touchmark/hostlink/hostd/trustfile"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/manpage"
	"touchmark/hostlink/serialport"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-hostd:", err)
		os.Exit(1)
	}
}

// manual is what the manual page says besides the command.
var manual = manpage.Page{Name: "touchmark-hostd", Section: 8, SeeAlso: []string{"touchmark(1)", "touchmark-audit(1)"}, Files: []string{
	"/etc/touchmark/hostd.toml", "configuration",
	"/etc/touchmark/trust", "what this host pins of the log, from the administrators",
	"/etc/touchmark/host.key", "this host's key, made by touchmark key new",
	"/var/lib/touchmark", "mirror of the log, accepted jobs, evidence",
	"/var/lib/touchmark-log", "the log as others may read it: plain files for any web server",
	"/run/touchmark/hostd.sock", "where touchmark asks",
}}

func rootCommand() *cobra.Command {
	var path, level string
	cmd := &cobra.Command{
		Use:   "touchmark-hostd --config hostd.toml",
		Short: "The host daemon of a Touchmark signing appliance",
		Long: "Owns the serial line to the appliance, mirrors and checks its log, publishes it, queues requests for\n" +
			"signatures and answers touchmark over a unix socket. It logs to standard error, in the journal's form if\n" +
			"that is the journal, and stops on SIGTERM and SIGINT.",
		Example:       "  touchmark-hostd --config /etc/touchmark/hostd.toml",
		Args:          cobra.NoArgs,
		Version:       manpage.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logger(level)
			if err != nil {
				return err
			}
			return run(cmd.Context(), path, log)
		},
	}
	cmd.Flags().StringVar(&path, "config", "/etc/touchmark/hostd.toml", "configuration file")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(manual.Command())
	return cmd
}

func logger(level string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	return zerolog.New(service.Log(os.Stderr)).Level(l).With().Timestamp().Logger(), nil
}

func run(ctx context.Context, path string, log zerolog.Logger) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	opt, err := options(c)
	if err != nil {
		return err
	}
	opt.Log = log
	if watched := service.Watchdog(); watched > 0 {
		opt.Beat, opt.Alive = max(watched/3, 1), func() { tell(log, service.Alive) } // two may get lost
	}
	drive, err := rounds(c, &opt)
	if err != nil {
		return err
	}
	meter, err := measured(c, &opt)
	if err != nil {
		return err
	}
	d, err := hostd.New(opt)
	if err != nil {
		return err
	}
	l, err := socket.Listen(c.Socket, c.Mode())
	if err != nil {
		return err
	}
	// Run closes the link itself, after its last words.
	link := serialport.Start(context.WithoutCancel(ctx), serialport.EndpointConfig{Path: c.Device, Baud: c.Baud, Initiator: true})
	fmt.Println("touchmark-hostd: serving", c.Socket)
	tell(log, service.Ready)
	context.AfterFunc(ctx, func() { tell(log, service.Stopping) })
	ctx, stop := context.WithCancel(ctx)
	var driver sync.WaitGroup
	driver.Go(func() { drive(ctx) })
	driver.Go(func() { meter(ctx, d, log) })
	err = d.Run(ctx, link, l)
	stop()
	driver.Wait()
	return err
}

// tell reports to systemd; that it does not hear is no reason to stop.
func tell(log zerolog.Logger, state string) {
	if err := service.Notify(state); err != nil {
		log.Warn().Err(err).Msg(state)
	}
}

// options reads the files that the configuration names.
func options(c *config.Config) (hostd.Options, error) {
	o := hostd.Options{State: c.State, Publish: c.Publish, Device: c.Device, Grace: time.Duration(c.LinkGrace)}
	o.Renew = trustfile.At(c.Trust).Next
	text, err := o.Renew()
	if err != nil {
		return o, fmt.Errorf("trust: %w", err)
	}
	if o.Trust, err = verify.ParseTrust(text); err != nil {
		return o, fmt.Errorf("trust file %s: %w", c.Trust, err)
	}
	key, err := api.ReadKey(c.Key)
	if err != nil {
		return o, fmt.Errorf("host key: %w", err)
	}
	o.Key, err = note.NewSigner(key)
	return o, err
}
