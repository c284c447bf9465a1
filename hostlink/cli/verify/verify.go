// Package verify is "touchmark verify": signatures and their proofs are checked offline,
// against the trust file alone. The check itself is hostlink/hostd/verify.
package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/hashing"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/cli/progress"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// Command is "touchmark verify".
func Command(a *cli.App) *cobra.Command {
	var sig, proof string
	var quiet bool
	c := &cobra.Command{
		Use:   "verify [flags] FILE...",
		Short: "Check FILE.sig and FILE.tmproof offline",
		Long: "Checks, with the trust file alone and no network: the signature over the file, that the log's intent announced\n" +
			"exactly this signature, and that the appliance's TPM had taken that intent. Exit code 0 means all of it holds.\n" +
			"If the trust file says that the key was revoked since, a warning says so and what that means for this signature.",
		Example: "  touchmark verify core.db.tar.gz\n  touchmark verify --sig a.sig --proof a.tmproof a.iso",
		Args:    cli.SomeFiles,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) > 1 && (sig != "" || proof != "") {
				return api.Errorf(api.Usage, "--sig and --proof are for one file")
			}
			return verifyFiles(a, files, sig, proof, quiet)
		},
	}
	c.Flags().StringVar(&sig, "sig", "", "signature, armored too (default FILE.sig, else FILE.asc)")
	c.Flags().StringVar(&proof, "proof", "", "proof (default FILE.tmproof)")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing if all is well")
	return c
}

func verifyFiles(a *cli.App, files []string, sig, proof string, quiet bool) error {
	trust, err := a.LoadTrust()
	if err != nil {
		return err
	}
	list, worst := []output.Signature{}, error(nil)
	for _, path := range files {
		d, err := verifyNamed(a, trust, path, sig, proof, quiet)
		if err == nil {
			list = append(list, d)
			continue
		}
		if len(files) == 1 {
			return err
		}
		fmt.Fprintln(a.Errs, "touchmark:", api.Printable(err.Error()))
		if worst == nil || api.CodeOf(err, 0) == api.Evidence {
			worst = err
		}
	}
	if a.JSON {
		a.Object(map[string]any{"ok": worst == nil, "files": list})
	}
	if worst != nil {
		return api.Errorf(api.CodeOf(worst, api.Internal), "%d of %d files are not good", len(files)-len(list), len(files))
	}
	return nil
}

// verifyNamed checks one file of a command line and says what it found.
func verifyNamed(a *cli.App, trust *verify.Trust, path, sig, proof string, quiet bool) (d output.Signature, err error) {
	if _, err := os.Stat(path); err != nil {
		return d, api.Errorf(api.BadInput, "%w", api.Plain(err))
	}
	signature, err := signatureOf(path, sig)
	if err != nil {
		return d, err
	}
	f, err := verifyOne(a, trust, path, signature, cmp.Or(proof, path+output.ProofSuffix))
	if err != nil {
		return d, err
	}
	d = output.Describe(path, signature, f)
	d.Proof = cmp.Or(proof, d.Proof)
	if !a.JSON && !quiet {
		fmt.Fprintf(a.Out, "%s: good, signed %s by %s%s\n  key %s, log %s entry %d, class %s, as %s for host %s\n",
			path, f.Created.Format(time.RFC3339), cmp.Or(f.UserID, "a key without user id,"), output.EmulatedNote(f), d.Key, f.Origin, f.Index, f.Class, f.Name, f.SubmittedBy)
	}
	if what := f.Spoilt(time.Now()); what != "" {
		fmt.Fprintf(a.Errs, "touchmark: warning: %s: %s\n", path, what)
	}
	if filepath.Base(path) != filepath.Base(f.Name) {
		// Not an error: a detached signature is over content, and mirrors rename.
		fmt.Fprintf(a.Errs, "touchmark: warning: %s was signed under the name %s: make sure it is what you asked for\n", path, f.Name)
	}
	return d, nil
}

// verifyOne checks one file. Missing files are bad input; whatever does not
// hold is evidence.
func verifyOne(a *cli.App, trust *verify.Trust, path, sigPath, proofPath string) (*verify.Facts, error) {
	content, err := api.ReadSmall(sigPath, openpgp.MaxSignatureFile)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "signature: %w", err)
	}
	proof, err := api.ReadSmall(proofPath, ledger.MaxProof)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "proof: %w", err)
	}
	in, err := trust.OpenProof(proof)
	if err != nil {
		return nil, api.Errorf(api.Evidence, "%s: %w", proofPath, err)
	}
	sig, err := in.OpenFile(filepath.Base(path), content)
	if err != nil {
		return nil, api.Errorf(api.Evidence, "%s: %w", sigPath, err)
	}
	h, err := hashOne(a, path, sig.Format, sig.Alg)
	if err != nil {
		return nil, err
	}
	if !sig.Agrees(h.State) {
		return nil, api.Errorf(api.Evidence, "%s has another text than %s", sigPath, path)
	}
	f, err := in.Check(filepath.Base(path), sig.Format, h.State, sig.Signature)
	if err != nil {
		return nil, api.Errorf(api.Evidence, "%s: %w", path, err)
	}
	return f, nil
}

// hashOne hashes a file under a progress bar.
func hashOne(a *cli.App, path string, format sigformat.Format, alg message.Alg) (*hashing.File, error) {
	p := progress.New(a.Errs, false)
	total, err := hashing.Check([]string{path}, format, true)
	if err != nil {
		return nil, err
	}
	var files []*hashing.File
	var done atomic.Int64
	p.Hashing(total, &done, func() { files, err = hashing.Files([]string{path}, format, alg, &done) })
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// signatureOf is where the signature of a file is: where somebody said, else
// FILE.sig, or FILE.asc if there is no such file. One of the two may be of another
// day: which, nobody can guess.
func signatureOf(path, said string) (string, error) {
	if said != "" {
		return said, nil
	}
	_, binary := os.Stat(path + output.SignatureSuffix)
	_, text := os.Stat(path + output.TextSuffix)
	switch {
	case binary == nil && text == nil:
		return "", api.Errorf(api.BadInput, "there are %s and %s: say with --sig which one the proof belongs to", path+output.SignatureSuffix, path+output.TextSuffix)
	case text == nil:
		return path + output.TextSuffix, nil
	case errors.Is(binary, fs.ErrNotExist):
		return "", api.Errorf(api.BadInput, "%s has no signature: there is neither %s nor %s; --sig names another", path, filepath.Base(path)+output.SignatureSuffix, filepath.Base(path)+output.TextSuffix)
	}
	return path + output.SignatureSuffix, nil
}
