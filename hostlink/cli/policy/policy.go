// Package policy is "touchmark policy": a policy is checked, explained and signed by
// its administrators. What is checked is in appliance/policy/review.
package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/appliance/policy"
	"touchmark/appliance/policy/review"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/key"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
)

// Command is "touchmark policy" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Check and sign policies",
		Long: `A policy is TOML, signed as a note. The first one is signed by a quorum of its own
administrators. One that follows another is signed by a quorum of that one's
administrators, those who leave included, and by each who is new: name the policy
in force with --in-force.`,
		Example: "  touchmark policy check policy.toml\n  touchmark policy sign --key admin1.key --in-force policy-1.note policy-2.toml",
	}
	var inForce string
	check := &cobra.Command{
		Use:     "check [--in-force NOTE] FILE",
		Short:   "Check a policy (TOML, or a signed note) and say what it allows",
		Example: "  touchmark policy check policy.toml\n  touchmark policy check --in-force policy-1.note policy-2.note",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return checkPolicy(a, args[0], inForce) },
	}
	var key, out string
	sign := &cobra.Command{
		Use:     "sign --key KEY [--in-force NOTE] [--out NOTE] FILE",
		Short:   "Sign a policy as an administrator; adds to the signatures of a note",
		Example: "  touchmark policy sign --key admin1.key policy.toml\n  touchmark policy sign --key admin2.key policy.note\n  touchmark policy sign --key leaving.key --in-force policy-1.note policy-2.note",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if key == "" {
				return api.Errorf(api.Usage, "policy sign needs --key")
			}
			return signPolicy(a, args[0], inForce, key, out)
		},
	}
	sign.Flags().StringVar(&key, "key", "", "administrator's private key")
	sign.Flags().StringVar(&out, "out", "", "where to write the note (default: FILE with .note)")
	for _, c := range []*cobra.Command{check, sign} {
		c.Flags().StringVar(&inForce, "in-force", "", "the policy that this one shall follow")
	}
	c.AddCommand(check, sign)
	return c
}

// maxPolicyFile is a note as large as a genesis entry can hold, and then some.
const maxPolicyFile = 64 << 10

// readPolicy reads a policy's TOML, or its note if it has one. Of one with
// several mistakes it prints them all.
func readPolicy(a *cli.App, path string) (*review.Candidate, error) {
	b, err := api.ReadSmall(path, maxPolicyFile)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "policy: %w", err)
	}
	c, err := review.Read(b)
	var all policy.Errors
	switch {
	case err == nil:
		return c, nil
	case !errors.As(err, &all) || len(all) == 1:
		return nil, api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	for _, e := range all {
		fmt.Fprintf(a.Errs, "%s: %v\n", path, e)
	}
	return nil, api.Errorf(api.BadInput, "%s: %w", path, err)
}

// before reads the policy in force and checks that c was written to follow it;
// nil for no path.
func before(a *cli.App, path string, c *review.Candidate) (*review.Candidate, error) {
	if path == "" {
		return nil, nil
	}
	old, err := readPolicy(a, path)
	if err != nil {
		return nil, err
	}
	if err := c.Follows(old); err != nil {
		return nil, api.Errorf(api.BadInput, "it does not follow %s: %w", path, err)
	}
	return old, nil
}

func checkPolicy(a *cli.App, path, inForce string) error {
	c, err := readPolicy(a, path)
	if err != nil {
		return err
	}
	old, err := before(a, inForce, c)
	if err != nil {
		return err
	}
	signed := "signed by its administrators"
	recovered, err := c.Signed(old)
	switch {
	case errors.Is(err, review.ErrUnsigned):
		signed = err.Error()
	case err != nil:
		return api.Errorf(api.Evidence, "%s: %w", path, err)
	case recovered:
		signed = "signed by the RECOVERY keys of " + inForce
	case old != nil:
		signed = "signed as " + inForce + " demands"
	}
	p := c.Policy
	if a.JSON {
		a.Object(map[string]any{"ok": true, "origin": p.Origin, "serial": p.Serial, "hash": fmt.Sprintf("%x", p.Hash), "signed": c.IsNote})
		return nil
	}
	fmt.Fprintf(a.Out, "%s: good, %s\n", path, signed)
	for _, l := range review.Explain(p).Lines() {
		a.Println(l)
	}
	return nil
}

func signPolicy(a *cli.App, path, inForce, keyPath, out string) error {
	c, err := readPolicy(a, path)
	if err != nil {
		return err
	}
	old, err := before(a, inForce, c)
	if err != nil {
		return err
	}
	s, _, err := key.Read(keyPath)
	if err != nil {
		return err
	}
	switch {
	case c.Names(s) || old.Names(s):
	case inForce == "":
		return api.Errorf(api.BadInput, "%s is the key of %s, who is no administrator in %s: add its public half to [administrators] keys, or name the policy in force with --in-force if %s is one there and leaves", keyPath, s.Name(), path, s.Name())
	default:
		return api.Errorf(api.BadInput, "%s is the key of %s, who is no administrator in %s nor in %s", keyPath, s.Name(), path, inForce)
	}
	n, err := c.Sign(s)
	if err != nil {
		return api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	if out == "" {
		out = strings.TrimSuffix(strings.TrimSuffix(path, ".toml"), ".note") + ".note"
	}
	if err := output.Write(out, n, 0o644); err != nil {
		return err
	}
	a.Made(out)
	return nil
}
