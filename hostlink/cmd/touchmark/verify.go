package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
	"touchmark/tpm/ledger"
)

func (a *app) verifyCmd() *cobra.Command {
	var sig, proof string
	var quiet bool
	c := &cobra.Command{
		Use:   "verify [flags] FILE...",
		Short: "Check FILE.sig and FILE.tmproof offline",
		Long: "Checks, with the trust file alone and no network: the signature over the file, that the log's intent announced\n" +
			"exactly this signature, and that the appliance's TPM had taken that intent. Exit code 0 means all of it holds.",
		Example: "  touchmark verify core.db.tar.gz\n  touchmark verify --sig a.sig --proof a.tmproof a.iso",
		Args:    someFiles,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) > 1 && (sig != "" || proof != "") {
				return exitf(api.Usage, "--sig and --proof are for one file")
			}
			return a.verify(files, sig, proof, quiet)
		},
	}
	c.Flags().StringVar(&sig, "sig", "", "signature (default FILE.sig)")
	c.Flags().StringVar(&proof, "proof", "", "proof (default FILE.tmproof)")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing if all is well")
	return c
}

func (a *app) verify(files []string, sig, proof string, quiet bool) error {
	trust, err := a.loadTrust()
	if err != nil {
		return err
	}
	var list []fileFacts
	for _, path := range files {
		f, err := a.verifyOne(trust, path, or(sig, path+sigSuffix), or(proof, path+proofSuffix))
		if err != nil {
			return err
		}
		d := describe(path, f)
		d.Signature, d.Proof = or(sig, d.Signature), or(proof, d.Proof)
		list = append(list, d)
		if !a.json && !quiet {
			fmt.Fprintf(a.out, "%s: good, signed %s by %s%s\n  key %s, log %s entry %d, class %s, as %s for host %s\n",
				path, f.Created.Format(time.RFC3339), f.UserID, emulatedNote(f), d.Key, f.Origin, f.Index, f.Class, f.Name, f.SubmittedBy)
		}
		if base(path) != base(f.Name) {
			// Not an error: a detached signature is over content, and mirrors rename.
			fmt.Fprintf(a.errs, "touchmark: warning: %s was signed under the name %s: make sure it is what you asked for\n", path, f.Name)
		}
	}
	if a.json {
		a.object(map[string]any{"ok": true, "files": list})
	}
	return nil
}

// verifyOne checks one file. Missing files are bad input; whatever does not
// hold is evidence.
func (a *app) verifyOne(trust *verify.Trust, path, sigPath, proofPath string) (*verify.Facts, error) {
	sig, err := api.ReadSmall(sigPath, sigformat.MaxSignature)
	if err != nil {
		return nil, exitf(api.BadInput, "signature: %w", err)
	}
	proof, err := api.ReadSmall(proofPath, ledger.MaxProof)
	if err != nil {
		return nil, exitf(api.BadInput, "proof: %w", err)
	}
	parsed, err := sigformat.ParseSignature(sig)
	if err != nil {
		return nil, exitf(api.Evidence, "%s: %w", sigPath, err)
	}
	p := newProgress(a.errs, false)
	total, err := checkInputs([]string{path}, true)
	if err != nil {
		return nil, err
	}
	var files []*hashed
	var done atomic.Int64
	p.hashing(total, &done, func() { files, err = hashFiles([]string{path}, parsed.Alg, &done) })
	if err != nil {
		return nil, err
	}
	in, err := trust.OpenProof(proof)
	if err != nil {
		return nil, exitf(api.Evidence, "%s: %w", proofPath, err)
	}
	f, err := in.Check(base(path), files[0].state, sig)
	if err != nil {
		return nil, exitf(api.Evidence, "%s: %w", path, err)
	}
	return f, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
