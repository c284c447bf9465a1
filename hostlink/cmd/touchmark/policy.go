package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

func (a *app) policyCmd() *cobra.Command {
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
		RunE:    func(_ *cobra.Command, args []string) error { return a.checkPolicy(args[0], inForce) },
	}
	var key, out string
	sign := &cobra.Command{
		Use:     "sign --key KEY [--in-force NOTE] [--out NOTE] FILE",
		Short:   "Sign a policy as an administrator; adds to the signatures of a note",
		Example: "  touchmark policy sign --key admin1.key policy.toml\n  touchmark policy sign --key admin2.key policy.note\n  touchmark policy sign --key leaving.key --in-force policy-1.note policy-2.note",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if key == "" {
				return exitf(api.Usage, "policy sign needs --key")
			}
			return a.signPolicy(args[0], inForce, key, out)
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

// readPolicy reads a policy's TOML, or its note if it has one.
func readPolicy(path string) (p *policy.Policy, text []byte, isNote bool, err error) {
	b, err := api.ReadSmall(path, maxPolicyFile)
	if err != nil {
		return nil, nil, false, exitf(api.BadInput, "policy: %w", err)
	}
	text = b
	if bytes.Contains(b, []byte("\n\n\u2014 ")) {
		isNote = true
		if text, err = message.NoteText(b); err != nil {
			return nil, nil, false, exitf(api.BadInput, "%s: %w", path, err)
		}
	}
	if p, err = policy.Parse(text); err != nil {
		return nil, nil, false, exitf(api.BadInput, "%s: %w", path, err)
	}
	return p, b, isNote, nil
}

// before reads the policy in force and checks that p was written to follow it;
// nil for no path.
func before(path string, p *policy.Policy) (*policy.Policy, error) {
	if path == "" {
		return nil, nil
	}
	old, _, _, err := readPolicy(path)
	if err != nil {
		return nil, err
	}
	if err := old.Follows(p); err != nil {
		return nil, exitf(api.BadInput, "it does not follow %s: %w", path, err)
	}
	return old, nil
}

func (a *app) checkPolicy(path, inForce string) error {
	p, b, isNote, err := readPolicy(path)
	if err != nil {
		return err
	}
	old, err := before(inForce, p)
	if err != nil {
		return err
	}
	signed := "not signed yet"
	switch {
	case isNote && old != nil:
		_, err = old.Successor(b)
		signed = "signed as " + inForce + " demands"
	case isNote:
		_, err = policy.Open(b)
		signed = "signed by its administrators"
	}
	if err != nil {
		return exitf(api.Evidence, "%s: %w", path, err)
	}
	if a.json {
		a.object(map[string]any{"ok": true, "origin": p.Origin, "serial": p.Serial, "hash": fmt.Sprintf("%x", p.Hash), "signed": isNote})
		return nil
	}
	fmt.Fprintf(a.out, "%s: good, %s\n  log %s, serial %d, hash %x\n  %d hosts, %d approvers, %d administrators (quorum %d)\n", path, signed,
		p.Origin, p.Serial, p.Hash, len(p.Hosts), len(p.Approvers), len(p.Administrators.Keys), p.Administrators.Quorum)
	for _, c := range p.Classes {
		rates := make([]string, len(c.Rates))
		for i, r := range c.Rates {
			rates[i] = r.Text
		}
		fmt.Fprintf(a.out, "  class %s: %s for %s, keys %s, %s, %d approvals\n", c.Name, strings.Join(c.Names, " "), strings.Join(c.Hosts, " "),
			strings.Join(c.Keys, " "), strings.Join(rates, " "), c.Approvals)
	}
	return nil
}

// administrator reports whether a policy names the holder of a key as one, or
// as one of those who may replace them.
func administrator(p *policy.Policy, s note.Signer) bool {
	return p != nil && slices.ContainsFunc(slices.Concat(p.Administrators.Keys, p.Recovery.Keys), func(k note.Verifier) bool {
		return k.Name() == s.Name() && k.KeyHash() == s.KeyHash()
	})
}

func (a *app) signPolicy(path, inForce, keyPath, out string) error {
	p, b, isNote, err := readPolicy(path)
	if err != nil {
		return err
	}
	old, err := before(inForce, p)
	if err != nil {
		return err
	}
	s, _, err := readKey(keyPath)
	if err != nil {
		return err
	}
	switch {
	case administrator(p, s) || administrator(old, s):
	case inForce == "":
		return exitf(api.BadInput, "%s is the key of %s, who is no administrator in %s: add its public half to [administrators] keys, or name the policy in force with --in-force if %s is one there and leaves", keyPath, s.Name(), path, s.Name())
	default:
		return exitf(api.BadInput, "%s is the key of %s, who is no administrator in %s nor in %s", keyPath, s.Name(), path, inForce)
	}
	var n []byte
	if isNote {
		n, err = message.CosignNote(b, s)
	} else {
		n, err = message.SignNote(b, s)
	}
	if err != nil {
		return exitf(api.BadInput, "%s: %w", path, err)
	}
	if out == "" {
		out = strings.TrimSuffix(strings.TrimSuffix(path, ".toml"), ".note") + ".note"
	}
	if err := durable.WriteFile(out, n, 0o644); err != nil {
		return exitf(api.CannotWrite, "%s: %w", out, plainWrite(err))
	}
	return a.wrote(out)
}
