package round

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
)

// RepoCommand runs a program of pacman's: repo-add or repo-remove.
func RepoCommand(a *cli.App, program, arguments string) *cobra.Command {
	return &cobra.Command{
		Use:   program + " [" + program + "'s flags] DATABASE PACKAGE...",
		Short: "Run " + program + " on a watched repository, and fail unless the result is signed and published",
		Long: "Runs pacman's " + program + " in the staging directory of a [[watch]] rule, without a signature, then waits until\n" +
			"the new database is signed and published. The program itself only warns when it cannot sign, and leaves an\n" +
			"unsigned database; this fails (exit codes 7, 8 …), and what clients see stays as it was. What changed stays\n" +
			"staged: it is published with the next database that is signed. The socket is $TOUCHMARK_SOCKET's.",
		Example:            "  touchmark " + program + " core.db.tar.gz " + arguments,
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
				return c.Help()
			}
			return repo(a, program, args)
		},
	}
}

func repo(a *cli.App, program string, args []string) error {
	db := ""
	for _, arg := range args {
		switch {
		case signs(arg):
			return api.Errorf(api.Usage, "%s: signatures are made by the appliance: leave it out", arg)
		case db == "" && !strings.HasPrefix(arg, "-"):
			db = arg
		}
	}
	if db == "" {
		return api.Errorf(api.Usage, "name a database: touchmark %s DATABASE PACKAGE", program)
	}
	rule, err := ruleOver(a, db)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.Errs, a.Errs
	if err := cmd.Run(); err != nil {
		return api.Errorf(api.BadInput, "%s failed: %w; nothing was asked for", program, err)
	}
	return waitPublished(a, rule)
}

// signs reports whether an option has repo-add sign: alone, with its value, or among
// others behind one dash, as newer versions take them.
func signs(arg string) bool {
	name, _, _ := strings.Cut(arg, "=")
	short := strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--")
	return name == "--sign" || name == "--key" || short && strings.ContainsAny(name, "sk")
}

// ruleOver finds the rule whose staging directory holds a database.
func ruleOver(a *cli.App, db string) (string, error) {
	dir, err := filepath.Abs(filepath.Dir(db))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", api.Errorf(api.BadInput, "%w", api.Plain(err))
	}
	r, err := a.Ask(&api.Request{Op: api.OpRound, Action: api.RoundList})
	if err != nil {
		return "", err
	}
	for _, o := range r.Rounds {
		if staged, err := filepath.EvalSymlinks(o.Dir); err == nil && staged == dir {
			return o.Rule, nil
		}
	}
	return "", api.Errorf(api.Usage, "no [[watch]] rule has dir = %q: add one to hostd.toml (docs/rounds.md)", dir)
}
