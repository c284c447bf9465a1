package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

func (a *app) keyCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Keys of hosts, approvers and administrators",
	}
	var name, out string
	create := &cobra.Command{
		Use:     "new --name NAME --out FILE",
		Short:   "Make a key: the private half into a file, the public half to standard output",
		Example: "  touchmark key new --name repo1 --out /etc/touchmark/host.key",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.newKey(name, out) },
	}
	create.Flags().StringVar(&name, "name", "", "name in the key, for example the host's")
	create.Flags().StringVar(&out, "out", "", "file for the private key; must not exist")
	show := &cobra.Command{
		Use:   "show FILE",
		Short: "Print the public half of a private key",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			_, public, err := readKey(args[0])
			if err == nil {
				fmt.Fprintln(a.out, public)
			}
			return err
		},
	}
	c.AddCommand(create, show)
	return c
}

func (a *app) newKey(name, out string) error {
	if name == "" || out == "" {
		return exitf(api.Usage, "key new needs --name and --out")
	}
	if _, err := os.Lstat(out); err == nil {
		return exitf(api.BadInput, "%s exists: a key is never overwritten, move it away first", out)
	}
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return exitf(api.Internal, "%w", err)
	}
	if _, err := message.ParseKey(public); err != nil {
		return exitf(api.BadInput, "--name %q: use printable ASCII without spaces and plus signs", name)
	}
	if err := durable.WriteFile(out, []byte(private+"\n"), 0o600); err != nil {
		return exitf(api.CannotWrite, "%s: %w", out, plainWrite(err))
	}
	fmt.Fprintln(a.out, public)
	return nil
}

// readKey reads a private note key and derives its public half.
func readKey(path string) (note.Signer, string, error) {
	key, err := api.ReadKey(path)
	if err != nil {
		return nil, "", exitf(api.BadInput, "key: %w", err)
	}
	s, err := note.NewSigner(key)
	if err != nil {
		return nil, "", exitf(api.BadInput, "key: %w", err)
	}
	// PRIVATE+KEY+name+hash+base64(algorithm ‖ seed); base64 may hold a plus.
	parts := strings.SplitN(key, "+", 5)
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, "", exitf(api.BadInput, "%s is not an Ed25519 note key", path)
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, "", exitf(api.Internal, "no public key")
	}
	v, err := note.NewEd25519VerifierKey(s.Name(), public)
	if err != nil {
		return nil, "", exitf(api.BadInput, "%s: %w", path, err)
	}
	return s, v, nil
}

func (a *app) policyCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Check and sign policies",
	}
	check := &cobra.Command{
		Use:     "check FILE",
		Short:   "Check a policy (TOML, or a signed note) and say what it allows",
		Example: "  touchmark policy check policy.toml",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.checkPolicy(args[0]) },
	}
	var key, out string
	sign := &cobra.Command{
		Use:     "sign --key KEY [--out NOTE] FILE",
		Short:   "Sign a policy as an administrator; adds to the signatures of a note",
		Example: "  touchmark policy sign --key admin1.key policy.toml\n  touchmark policy sign --key admin2.key policy.note",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if key == "" {
				return exitf(api.Usage, "policy sign needs --key")
			}
			return a.signPolicy(args[0], key, out)
		},
	}
	sign.Flags().StringVar(&key, "key", "", "administrator's private key")
	sign.Flags().StringVar(&out, "out", "", "where to write the note (default: FILE with .note)")
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

func (a *app) checkPolicy(path string) error {
	p, b, isNote, err := readPolicy(path)
	if err != nil {
		return err
	}
	signed := "not signed yet"
	if isNote {
		if _, err := policy.Open(b); err != nil {
			return exitf(api.Evidence, "%s: %w", path, err)
		}
		signed = "signed by its administrators"
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
		fmt.Fprintf(a.out, "  class %s: %s for %s, key %s, %s, %d approvals\n", c.Name, strings.Join(c.Names, " "), strings.Join(c.Hosts, " "),
			c.Key, strings.Join(rates, " "), c.Approvals)
	}
	return nil
}

func (a *app) signPolicy(path, keyPath, out string) error {
	p, b, isNote, err := readPolicy(path)
	if err != nil {
		return err
	}
	s, _, err := readKey(keyPath)
	if err != nil {
		return err
	}
	known := false
	for _, k := range p.Administrators.Keys {
		known = known || k.Name() == s.Name() && k.KeyHash() == s.KeyHash()
	}
	if !known {
		return exitf(api.BadInput, "%s is the key of %s, who is no administrator in %s: add its public half to [administrators] keys", keyPath, s.Name(), path)
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
	fmt.Fprintln(a.out, out)
	return nil
}
