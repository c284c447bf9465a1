// Touchmark gets files signed by a Touchmark appliance and checks such
// signatures. It hashes files, asks touchmark-hostd, verifies what comes back
// against its own trust file and only then writes FILE.sig and FILE.tmproof.
// docs/host-guide.md lists commands and exit codes.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/approvals"
	"touchmark/hostlink/cli/intoto"
	"touchmark/hostlink/cli/key"
	"touchmark/hostlink/cli/keyring"
	"touchmark/hostlink/cli/log"
	"touchmark/hostlink/cli/order"
	"touchmark/hostlink/cli/policy"
	"touchmark/hostlink/cli/round"
	"touchmark/hostlink/cli/sign"
	"touchmark/hostlink/cli/status"
	"touchmark/hostlink/cli/verify"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/manpage"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, out, errs io.Writer) int {
	a := cli.New(out, errs)
	root := command(a)
	root.SetArgs(args)
	root.SetOut(a.Out)
	root.SetErr(errs)
	c, err := root.ExecuteC()
	if err = cmp.Or(hinted(c, err), a.Out.Failed()); err == nil {
		return api.OK
	}
	code := api.CodeOf(err, api.Usage)
	fmt.Fprintln(errs, "touchmark:", api.Printable(err.Error())) // names of files in it are whoever's who made them
	if a.JSON {
		a.Object(failure{Code: code, Error: err.Error()})
	}
	return code
}

// failure is what --json prints when a command fails.
type failure struct {
	OK    bool   `json:"ok"`
	Code  int    `json:"code"`
	Error string `json:"error"`
}

// command is the program with all its commands.
func command(a *cli.App) *cobra.Command {
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
		return api.Errorf(api.Usage, "%s (see '%s --help'; a file whose name begins with - is ./-NAME)", parsed.ReplaceAllString(err.Error(), ""), c.CommandPath())
	})
	f := c.PersistentFlags()
	f.StringVar(&a.Socket, "socket", env("TOUCHMARK_SOCKET", "/run/touchmark/hostd.sock"), "socket of touchmark-hostd ($TOUCHMARK_SOCKET)")
	f.StringVar(&a.Trust, "trust", env("TOUCHMARK_TRUST", "/etc/touchmark/trust"), "trust directory or file ($TOUCHMARK_TRUST)")
	f.BoolVar(&a.JSON, "json", false, "print JSON for programs")
	c.AddCommand(
		sign.Command(a), sign.FetchCommand(a), verify.Command(a),
		status.Command(a), status.WatchCommand(a), status.JobsCommand(a), status.QueueCommand(a),
		round.Command(a), round.RepoCommand(a, "repo-add", "hello-2.0-1-any.pkg.tar.zst"), round.RepoCommand(a, "repo-remove", "hello"),
		log.Command(a), log.PublishCommand(a), log.ChallengeCommand(a),
		approvals.Command(a), approvals.ApproveCommand(a), policy.Command(a), order.Command(a), key.Command(a), key.BindCommand(a),
		keyring.Command(a), intoto.Command(a),
		exitCodes(), manual.Command())
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
	if err == nil || api.CodeOf(err, api.Usage) != api.Usage || errors.As(err, new(*api.Error)) {
		return err
	}
	if c.HasSubCommands() {
		return api.Errorf(api.Usage, "%w (see '%s --help')", err, c.CommandPath())
	}
	return api.Errorf(api.Usage, "%w (it is called as '%s'; see '%s --help')", err, c.UseLine(), c.CommandPath())
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

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
