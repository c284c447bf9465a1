// Touchmark gets files signed by a Touchmark appliance and checks such
// signatures. It hashes files, asks touchmark-hostd, verifies what comes back
// against its own trust file and only then writes FILE.sig and FILE.tmproof.
// docs/host-guide.md lists commands and exit codes.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/manpage"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, out, errs io.Writer) int {
	a := &app{out: &printer{to: out}, errs: errs}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(errs)
	c, err := root.ExecuteC()
	if err = cmp.Or(hinted(c, err), a.out.failed()); err == nil {
		return api.OK
	}
	code := codeOf(err)
	fmt.Fprintln(errs, "touchmark:", api.Printable(err.Error())) // names of files in it are whoever's who made them
	if a.json {
		a.object(failure{Code: code, Error: err.Error()})
	}
	return code
}

// failure is what --json prints when a command fails.
type failure struct {
	OK    bool   `json:"ok"`
	Code  int    `json:"code"`
	Error string `json:"error"`
}

// app holds what all commands share.
type app struct {
	out    *printer
	errs   io.Writer
	socket string
	trust  string
	json   bool
}

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:           "touchmark",
		Short:         "Have files signed by a touch on the signing appliance, and check such signatures",
		Long:          "Touchmark sends digests, never files, to a signing appliance; an operator touches a token there.\nEvery signature is committed to a log in the appliance's TPM before it is made.",
		Example:       "  touchmark sign core.db.tar.gz core.files.tar.gz\n  touchmark verify core.db.tar.gz",
		Version:       manpage.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.CompletionOptions.HiddenDefaultCmd = true
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exitf(api.Usage, "%s (see '%s --help'; a file whose name begins with - is ./-NAME)", parsed.ReplaceAllString(err.Error(), ""), c.CommandPath())
	})
	f := c.PersistentFlags()
	f.StringVar(&a.socket, "socket", env("TOUCHMARK_SOCKET", "/run/touchmark/hostd.sock"), "socket of touchmark-hostd ($TOUCHMARK_SOCKET)")
	f.StringVar(&a.trust, "trust", env("TOUCHMARK_TRUST", "/etc/touchmark/trust"), "trust directory or file ($TOUCHMARK_TRUST)")
	f.BoolVar(&a.json, "json", false, "print JSON for programs")
	c.AddCommand(a.signCmd(), a.approvalsCmd(), a.approveCmd(), a.fetchCmd(), a.jobsCmd(), a.queueCmd(), a.verifyCmd(), a.statusCmd(), a.watchCmd(), a.logCmd(), a.publishCmd(), a.roundCmd(),
		a.repoCmd("repo-add", "Run repo-add on a watched repository, and fail unless the result is signed and published", "  touchmark repo-add core.db.tar.gz hello-2.0-1-any.pkg.tar.zst"),
		a.repoCmd("repo-remove", "Run repo-remove on a watched repository, and fail unless the result is signed and published", "  touchmark repo-remove core.db.tar.gz hello"),
		a.keyringCmd(), a.inTotoCmd(), a.challengeCmd(), a.keyCmd(), a.policyCmd(), a.orderCmd(), a.bindCmd(), exitCodes(), manual.Command())
	groups(c.Commands())
	return c
}

// groups has commands that only have others below them refuse what is none of these.
func groups(list []*cobra.Command) {
	for _, c := range list {
		if c.HasSubCommands() && !c.Runnable() {
			c.Args, c.DisableFlagsInUseLine = cobra.NoArgs, true
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
		groups(c.Commands())
	}
}

// parsed is how a value that is no number is told by who reads it.
var parsed = regexp.MustCompile(`: strconv\.\w+: parsing .*`)

// hinted says how a command is called where its parser refused the call.
func hinted(c *cobra.Command, err error) error {
	if err == nil || codeOf(err) != api.Usage || errors.As(err, new(*api.Error)) {
		return err
	}
	if c.HasSubCommands() {
		return exitf(api.Usage, "%w (see '%s --help')", err, c.CommandPath())
	}
	return exitf(api.Usage, "%w (it is called as '%s'; see '%s --help')", err, c.UseLine(), c.CommandPath())
}

// manual is what the manual page says besides the commands.
var manual = manpage.Page{Name: "touchmark", Section: 1, SeeAlso: []string{"touchmark-hostd(8)", "touchmark-audit(1)"}, Files: []string{
	"/etc/touchmark/trust", "what this host pins of the log: directory or file ($TOUCHMARK_TRUST)",
	"/run/touchmark/hostd.sock", "socket of touchmark-hostd ($TOUCHMARK_SOCKET)",
	"FILE.sig, FILE.asc", "signature",
	"FILE.tmproof", "proof that the log has the signature",
}}

// exitCodes is a page to read: touchmark help exit-codes.
func exitCodes() *cobra.Command {
	var b strings.Builder
	for _, c := range api.Codes {
		fmt.Fprintf(&b, "%3d  %s\n", c.Code, c.Meaning)
		if c.Do != "" {
			fmt.Fprintf(&b, "       %s\n", c.Do)
		}
	}
	return &cobra.Command{Use: "exit-codes", Short: "What exit codes mean", Long: strings.TrimSpace(b.String())}
}

// someFiles wants at least one file named.
func someFiles(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return exitf(api.Usage, "name at least one file: %s FILE", c.CommandPath())
	}
	return nil
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// exitf makes an error with its exit code.
func exitf(code int, format string, args ...any) error { return api.Errorf(code, format, args...) }

// codeOf gives the exit code: errors without one come from the command line's
// parser.
func codeOf(err error) int { return api.CodeOf(err, api.Usage) }

func (a *app) println(line string) { fmt.Fprintln(a.out, line) }

func (a *app) object(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fmt.Fprintln(a.errs, "touchmark:", err)
		return
	}
	fmt.Fprintf(a.out, "%s\n", b)
}

// ask sends the daemon a request that has one answer.
func (a *app) ask(req *api.Request) (*api.Response, error) { return a.daemon().Ask(req) }

// daemon is the one that is asked. Who waits for it is told.
func (a *app) daemon() client.Daemon {
	return a.daemonFor(func(text string) { fmt.Fprintln(a.errs, "touchmark:", text) })
}

// daemonFor is the same for those who tell in their own way what goes on.
func (a *app) daemonFor(tell func(string)) client.Daemon {
	return client.Daemon{Socket: a.socket, Slow: func(patience time.Duration) {
		tell(fmt.Sprintf("touchmark-hostd has not answered yet: waiting for it, %g minutes at most", patience.Minutes()))
	}}
}

// loadTrust reads what this host pins.
func (a *app) loadTrust() (*verify.Trust, error) {
	text, err := api.ReadTrust(a.trust)
	if err != nil {
		return nil, exitf(api.BadInput, "trust: %w (name it with --trust or $TOUCHMARK_TRUST)", err)
	}
	t, err := verify.ParseTrust(text)
	if err != nil {
		return nil, exitf(api.BadInput, "trust %s: %w", a.trust, err)
	}
	return t, nil
}

func base(path string) string { return filepath.Base(path) }
