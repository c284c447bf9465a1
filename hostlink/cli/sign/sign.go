// Package sign is "touchmark sign" and "fetch": files are hashed, the appliance is
// asked through touchmark-hostd, and what comes back is verified against this host's own
// trust file and its own hashes before a signature is written (hostlink/hostd/verify).
// Other commands that have something signed or approved use it too.
package sign

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/hashing"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/cli/progress"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
)

// Command is "touchmark sign".
func Command(a *cli.App) *cobra.Command {
	var f Options
	c := &cobra.Command{
		Use:   "sign [flags] FILE...",
		Short: "Have files signed; writes FILE.sig and FILE.tmproof",
		Long: "Asks the policy about large files, hashes the files, asks the appliance through touchmark-hostd, waits for the operator's touch, verifies\n" +
			"signatures and proofs against the trust file, and writes FILE.sig and FILE.tmproof beside each file.\n" +
			"With --armor, and for a text with its signature in one file (--format openpgp-cleartext), it is FILE.asc.\n" +
			"For in-toto and DSSE, FILE is metadata or payload, with or without signatures, and FILE.sig all of it with one more.\n" +
			"All files of one call are one job: the operator arms it once and touches the token once per file.\n" +
			"On any failure nothing is written, and the exit code says what happened (docs/host-guide.md).\n" +
			"A request that nobody has taken the result of is joined: the same call again does not ask for another touch.",
		Example: "  touchmark sign core.db.tar.gz core.files.tar.gz\n  touchmark sign --class iso --hash sha512 --timeout 1h archlinux.iso\n" +
			"  touchmark sign --format openpgp-cleartext Release && mv Release.asc InRelease\n" +
			"  touchmark sign --format sshsig-file --hash sha512 notes.txt\n" +
			"  touchmark sign --format in-toto-gpg root.layout && mv root.layout.sig root.layout",
		Args: cli.SomeFiles,
		RunE: func(_ *cobra.Command, files []string) error { return Files(a, files, &f) },
	}
	f.Ask(c)
	f.Wait(c)
	c.Flags().BoolVar(&f.armor, "armor", false, "write the signature as text, to FILE.asc")
	return c
}

// Files has files signed, as one job, and writes signatures and proofs beside them, or
// nothing. It returns when that is done, the operator denied it, or a signal came; errors
// have exit codes.
func Files(a *cli.App, paths []string, f *Options) error {
	format, total, err := checkAsked(paths, f)
	if err != nil {
		return err
	}
	writable := make(chan error, 1)
	go func() { writable <- checkOutputs(paths, format) }() // the disk and the processor need not wait for each other
	trust, err := a.LoadTrust()
	if err = cmp.Or(err, <-writable); err != nil {
		return err
	}
	if err := mayAsk(a, paths, format, f.class); err != nil {
		return err
	}
	p := progress.New(a.Errs, f.quiet)
	files, s, err := prepare(a, paths, format, total, f, p)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Return = f.reconnect
	req, err := requestFor(a, files, f)
	if err != nil {
		return err
	}
	r, err := converse(s, req, p, paths)
	if err != nil {
		return err
	}
	if err := accept(a, trust, files, r, form{f.armor, f.inPlace}); err != nil {
		return kept(err, s, paths)
	}
	s.Taken()
	return nil
}

// mayAsk asks whether the policy takes files of these names and sizes, if hashing
// them takes long.
func mayAsk(a *cli.App, paths []string, format sigformat.Format, class string) error {
	var files []api.Item
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return api.Errorf(api.BadInput, "%w", api.Plain(err))
		}
		files = append(files, api.Item{Name: filepath.Base(p), Format: format.Name, Size: uint64(st.Size())})
	}
	return a.Daemon().May(class, files)
}

// prepare connects, to learn early whether anybody is there, and hashes the
// files.
func prepare(a *cli.App, paths []string, format sigformat.Format, total int64, f *Options, p *progress.Display) (files []*hashing.File, s *client.Session, err error) {
	if s, err = a.DaemonFor(p.Tell).Open(); err != nil {
		return nil, nil, err
	}
	var done atomic.Int64
	p.Hashing(total, &done, func() { files, err = hashing.Files(paths, format, message.Alg(f.Alg), &done) })
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return files, s, nil
}

// requestFor is what is asked of the appliance. It warns where an operator who may
// expect to read a file's meaning will not.
func requestFor(a *cli.App, files []*hashing.File, f *Options) (r *api.Request, err error) {
	r = &api.Request{Op: api.OpSign, Class: f.class, Timeout: f.timeout.Milliseconds(), Key: make([]byte, api.KeySize)}
	rand.Read(r.Key) // never fails: crypto/rand ends the program instead
	var list []client.File
	for _, h := range files {
		list = append(list, client.File{Name: filepath.Base(h.Path), Format: h.Format, State: h.State, Read: h.Read})
	}
	if r.Items, err = client.Items(list); err != nil {
		return nil, err
	}
	for i := range list {
		if err := list[i].Unshown(r.Items[i]); err != nil {
			fmt.Fprintf(a.Errs, "touchmark: warning: the operator is shown a digest and no meaning: %v\n", err)
		}
	}
	return r, nil
}

// accept verifies everything once more, against this command's own trust and
// its own hash, and writes the results.
func accept(a *cli.App, trust *verify.Trust, files []*hashing.File, r *api.Response, as form) error {
	if len(r.Signatures) != len(files) || len(r.Proofs) != len(files) {
		return api.Errorf(api.Evidence, "touchmark-hostd returned %d signatures and %d proofs for %d files", len(r.Signatures), len(r.Proofs), len(files))
	}
	facts := make([]*verify.Facts, len(files))
	var outs []*output.File
	var in *verify.Intent
	for i, h := range files {
		var err error
		if i == 0 || !slices.Equal(r.Proofs[i], r.Proofs[i-1]) {
			if in, err = trust.OpenProof(r.Proofs[i]); err != nil {
				return api.Errorf(api.Evidence, "%s: %w; nothing was written", h.Path, err)
			}
		}
		if facts[i], err = in.Check(filepath.Base(h.Path), h.Format, h.State, r.Signatures[i]); err != nil {
			return api.Errorf(api.Evidence, "%w; nothing was written", err)
		}
		if err := h.Unchanged(); err != nil {
			return err
		}
		sig, err := signatureFile(h, in.Signer(), r.Signatures[i], as)
		if err != nil {
			return err
		}
		outs = append(outs, &output.File{Path: h.Path + output.ProofSuffix, Data: r.Proofs[i]}, sig)
	}
	if err := output.WriteAll(outs); err != nil {
		return err
	}
	report(a, files, facts, outs)
	return nil
}

func report(a *cli.App, files []*hashing.File, facts []*verify.Facts, outs []*output.File) {
	signature := func(i int) string { return outs[2*i+1].Path }
	if a.JSON {
		list := make([]output.Signature, len(files))
		for i, h := range files {
			list[i] = output.Describe(h.Path, signature(i), facts[i])
		}
		a.Object(map[string]any{"ok": true, "job": facts[0].Job.String(), "files": list})
		return
	}
	for i := range files {
		fmt.Fprintf(a.Out, "%s signed (entry %d, %s)%s\n", signature(i), facts[i].Index, facts[i].Created.Format(time.RFC3339), output.EmulatedNote(facts[i]))
	}
}
