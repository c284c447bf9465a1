// Package keyring is "touchmark keyring": the public keys of the trust file for
// those who check signatures, as a directory of every kind of keyring or one kind on
// standard output. What the kinds are is in hostlink/keyring.
package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/keyring"
	"touchmark/tpm/ledgerstore/durable"
)

// Command is "touchmark keyring" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "keyring", Short: "Hand the public keys to those who check signatures", Example: "  touchmark keyring export --name example --out keyring\n  touchmark keyring show | gpg --import"}
	var o keyring.Options
	var out string
	export := &cobra.Command{
		Use:   "export [flags] --out DIR",
		Short: "Write the keys of the trust file as every kind of keyring",
		Long: `Writes into a new directory what programs and people need to check signatures
by the keys of the trust file:

  fingerprints.txt   to print, hang up and read out
  NAME.asc           OpenPGP certificates
  pacman/            NAME.gpg, NAME-trusted, NAME-revoked: a keyring package
  apt/               NAME-keyring.gpg: for Signed-By
  wkd/               .well-known/openpgpkey/: for the web server of the address
  in-toto/           NAME.asc: OpenPGP certificates of keys for in-toto's metadata
  ssh/               allowed_signers
  pem/               public keys for openssl

Kinds for which there is no key are left out. Keys for in-toto's metadata are in no keyring
of a package manager. Revoked certificates are not in
apt/. After a renewal or revocation take the next version of the trust file
first: what is exported is what stands in it.`,
		Example: "  touchmark keyring export --name example --out keyring\n" +
			"  touchmark keyring export --name example --principal release@example.org --namespace file --out keyring\n" +
			"  touchmark keyring export --key 23F54A4D4717C2A56B3F00D75BAF93AA7E606629 --out keyring",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return exportKeyring(a, o, out) },
	}
	f := export.Flags()
	f.StringVar(&out, "out", "", "directory to make; it must not exist")
	f.StringArrayVar(&o.Only, "key", nil, "fingerprint of a key to export, once for each (default: all keys)")
	f.StringVar(&o.Name, "name", "touchmark", "what the files are called")
	f.StringArrayVar(&o.Principals, "principal", nil, "who signs, in allowed_signers; once for each (default: the name)")
	f.StringArrayVar(&o.Namespaces, "namespace", nil, "namespace that allowed_signers grants, once for each (default: any)")
	if err := export.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag was defined above
	}
	c.AddCommand(export, showCommand(a))
	return c
}

func exportKeyring(a *cli.App, o keyring.Options, out string) error {
	t, err := a.LoadTrust()
	if err != nil {
		return err
	}
	o.Origin, o.Emulated = t.Origin, t.Emulated
	files, err := keyring.Files(t.Keys, o)
	if err != nil {
		return api.Errorf(api.Usage, "%w", err)
	}
	if err := writeDir(out, files); err != nil {
		return err
	}
	if a.JSON {
		a.Object(map[string]any{"ok": true, "directory": out, "files": namesOf(files)})
		return nil
	}
	for _, f := range files {
		fmt.Fprintln(a.Out, filepath.Join(out, filepath.FromSlash(f.Path)))
	}
	return nil
}

func namesOf(files []keyring.File) (out []string) {
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

// writeDir makes the directory whole or not at all: it is written under another
// name first. Nothing in it is old, so no key stays that the trust file dropped.
func writeDir(dir string, files []keyring.File) error {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return api.Errorf(api.CannotWrite, "%s exists already: name another directory, or move it away", dir)
	}
	tmp := durable.TempName(dir)
	err := os.RemoveAll(tmp) // of an export that was cut short
	if err == nil {
		err = durable.OS.Mkdir(tmp, 0o755)
	}
	for _, f := range files {
		path := filepath.Join(tmp, filepath.FromSlash(f.Path))
		if err == nil {
			err = durable.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = durable.WriteFile(path, f.Content, 0o644)
		}
	}
	if err == nil {
		err = durable.RenameTemp(durable.OS, dir)
	}
	if err != nil {
		return api.Errorf(api.CannotWrite, "%s: %w", dir, output.Plain(errors.Join(err, os.RemoveAll(tmp))))
	}
	return nil
}
