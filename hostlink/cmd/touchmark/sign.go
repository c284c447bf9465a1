package main

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
)

type signFlags struct {
	class      string
	format     string
	armor      bool
	alg        string
	timeout    time.Duration
	allowEmpty bool
	quiet      bool
	reconnect  time.Duration
	inPlace    bool // enclosed formats: the signature goes into the file itself
}

func (a *app) signCmd() *cobra.Command {
	var f signFlags
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
		Args: someFiles,
		RunE: func(_ *cobra.Command, files []string) error { return a.sign(files, &f) },
	}
	f.ask(c)
	f.wait(c)
	c.Flags().BoolVar(&f.armor, "armor", false, "write the signature as text, to FILE.asc")
	return c
}

// wait are the flags about the time until the signature is there.
func (f *signFlags) wait(c *cobra.Command) {
	c.Flags().DurationVar(&f.reconnect, "reconnect", time.Minute, "how long to wait for a touchmark-hostd that went away meanwhile")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "say nothing while waiting")
}

func (a *app) sign(paths []string, f *signFlags) error {
	format, total, err := checkAsked(paths, f)
	if err != nil {
		return err
	}
	writable := make(chan error, 1)
	go func() { writable <- checkOutputs(paths, format) }() // the disk and the processor need not wait for each other
	trust, err := a.loadTrust()
	if err = cmp.Or(err, <-writable); err != nil {
		return err
	}
	if err := a.mayAsk(paths, format, f.class); err != nil {
		return err
	}
	p := newProgress(a.errs, f.quiet)
	files, s, err := a.prepare(paths, format, total, f, p)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, h := range files {
		h.inPlace = f.inPlace
	}
	s.Return = f.reconnect
	req, err := a.requestFor(files, f)
	if err != nil {
		return err
	}
	r, err := converse(s, req, p, paths)
	if err != nil {
		return err
	}
	if err := a.accept(trust, files, r, f.armor); err != nil {
		return kept(err, s, paths)
	}
	s.Taken()
	return nil
}

// checkAsked refuses what can be seen to be wrong before any file is read, and
// adds up the files' sizes.
func checkAsked(paths []string, f *signFlags) (format sigformat.Format, total int64, err error) {
	if err := checkCall(paths, message.Alg(f.alg), f); err != nil {
		return format, 0, err
	}
	format, known := sigformat.FormatOf(f.format)
	switch {
	case !known:
		return format, 0, exitf(api.Usage, "--format %s: use %s", f.format, strings.Join(sigformat.FormatNames(), ", "))
	case f.armor && format.Family != sigformat.FamilyOpenPGP:
		return format, 0, exitf(api.Usage, "--armor: only OpenPGP has it, %s does not", f.format)
	}
	total, err = checkInputs(paths, format, f.allowEmpty)
	return format, total, err
}

// mayAsk asks whether the policy takes files of these names and sizes, if hashing
// them takes long.
func (a *app) mayAsk(paths []string, format sigformat.Format, class string) error {
	var files []api.Item
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return exitf(api.BadInput, "%w", api.Plain(err))
		}
		files = append(files, api.Item{Name: base(p), Format: format.Name, Size: uint64(st.Size())})
	}
	return a.daemon().May(class, files)
}

// prepare connects, to learn early whether anybody is there, and hashes the
// files.
func (a *app) prepare(paths []string, format sigformat.Format, total int64, f *signFlags, p *progress) (files []*hashed, s *client.Session, err error) {
	if s, err = a.daemonFor(p.tell).Open(); err != nil {
		return nil, nil, err
	}
	var done atomic.Int64
	p.hashing(total, &done, func() { files, err = hashFiles(paths, format, message.Alg(f.alg), &done) })
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return files, s, nil
}

// checkCall refuses what is wrong whatever the files hold.
func checkCall(paths []string, alg message.Alg, f *signFlags) error {
	switch {
	case !alg.Valid():
		return exitf(api.Usage, "--hash %s: use sha256, sha384 or sha512", f.alg)
	case f.timeout < time.Second || f.timeout > 7*24*time.Hour:
		return exitf(api.Usage, "--timeout %s: use 1s to 168h", f.timeout)
	case len(paths) > message.MaxItems:
		return exitf(api.Usage, "%d files: sign at most %d at once", len(paths), message.MaxItems)
	}
	for i, p := range paths {
		if err := message.ValidName(base(p)); err != nil {
			return exitf(api.BadInput, "%w: rename the file", err)
		}
		same := func(q string) bool { return base(q) == base(p) }
		if slices.ContainsFunc(paths[:i], same) {
			return exitf(api.Usage, "two files are called %s: sign them in separate calls", base(p))
		}
	}
	return nil
}

// checkInputs looks at all files before the first byte is hashed, and adds up
// their sizes.
func checkInputs(paths []string, format sigformat.Format, allowEmpty bool) (total int64, err error) {
	for _, p := range paths {
		f, st, err := openRegular(p)
		if err != nil {
			return 0, err
		}
		_ = f.Close() // read only: nothing can be lost
		if st.Size() == 0 && !allowEmpty {
			return 0, exitf(api.BadInput, "%s is empty: if that is right, use --allow-empty", p)
		}
		if format.Cleartext() && st.Size() > openpgp.MaxClear {
			return 0, exitf(api.BadInput, "%s has %d bytes: a text with its signature in one file has at most %d", p, st.Size(), openpgp.MaxClear)
		}
		total += st.Size()
	}
	return total, nil
}

// requestFor is what is asked of the appliance. It warns where an operator who may
// expect to read a file's meaning will not.
func (a *app) requestFor(files []*hashed, f *signFlags) (r *api.Request, err error) {
	r = &api.Request{Op: api.OpSign, Class: f.class, Timeout: f.timeout.Milliseconds(), Key: make([]byte, api.KeySize)}
	rand.Read(r.Key) // never fails: crypto/rand ends the program instead
	var list []client.File
	for _, h := range files {
		list = append(list, client.File{Name: base(h.path), Format: h.format, State: h.state, Read: h.read})
	}
	if r.Items, err = client.Items(list); err != nil {
		return nil, err
	}
	for i := range list {
		if err := list[i].Unshown(r.Items[i]); err != nil {
			fmt.Fprintf(a.errs, "touchmark: warning: the operator is shown a digest and no meaning: %v\n", err)
		}
	}
	return r, nil
}

// accept verifies everything once more, against this command's own trust and
// its own hash, and writes the results.
func (a *app) accept(trust *verify.Trust, files []*hashed, r *api.Response, armor bool) error {
	if len(r.Signatures) != len(files) || len(r.Proofs) != len(files) {
		return exitf(api.Evidence, "touchmark-hostd returned %d signatures and %d proofs for %d files", len(r.Signatures), len(r.Proofs), len(files))
	}
	facts := make([]*verify.Facts, len(files))
	var outs []*output
	var in *verify.Intent
	for i, h := range files {
		var err error
		if i == 0 || !slices.Equal(r.Proofs[i], r.Proofs[i-1]) {
			if in, err = trust.OpenProof(r.Proofs[i]); err != nil {
				return exitf(api.Evidence, "%s: %w; nothing was written", h.path, err)
			}
		}
		if facts[i], err = in.Check(base(h.path), h.format, h.state, r.Signatures[i]); err != nil {
			return exitf(api.Evidence, "%w; nothing was written", err)
		}
		if err := h.unchanged(); err != nil {
			return err
		}
		sig, err := h.signatureFile(in.Signer(), r.Signatures[i], armor)
		if err != nil {
			return err
		}
		outs = append(outs, &output{path: h.path + proofSuffix, data: r.Proofs[i]}, sig)
	}
	if err := writeAll(outs); err != nil {
		return err
	}
	a.report(files, facts, outs)
	return nil
}

func (a *app) report(files []*hashed, facts []*verify.Facts, outs []*output) {
	signature := func(i int) string { return outs[2*i+1].path }
	if a.json {
		list := make([]fileFacts, len(files))
		for i, h := range files {
			list[i] = describe(h.path, signature(i), facts[i])
		}
		a.object(map[string]any{"ok": true, "job": facts[0].Job.String(), "files": list})
		return
	}
	for i := range files {
		fmt.Fprintf(a.out, "%s signed (entry %d, %s)%s\n", signature(i), facts[i].Index, facts[i].Created.Format(time.RFC3339), emulatedNote(facts[i]))
	}
}

func emulatedNote(f *verify.Facts) string {
	if f.Emulated {
		return " by an EMULATED token"
	}
	return ""
}

// fileFacts is a verified signature as --json shows it.
type fileFacts struct {
	File       string `json:"file"`
	Signature  string `json:"signature"`
	Proof      string `json:"proof"`
	Origin     string `json:"origin"`
	Class      string `json:"class"`
	Format     string `json:"format"`
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	Size       uint64 `json:"size"`
	Key        string `json:"key"`
	UserID     string `json:"user_id"`
	Job        string `json:"job"`
	Created    string `json:"created"`
	Entry      uint64 `json:"entry"`
	Checkpoint uint64 `json:"checkpoint"`
	Host       string `json:"host"`
	Emulated   bool   `json:"emulated"`
	Standing   string `json:"standing,omitempty"` // of the key, as the trust file has it now
}

func describe(path, signature string, f *verify.Facts) fileFacts {
	return fileFacts{
		File: path, Signature: signature, Proof: path + proofSuffix, Origin: f.Origin, Class: f.Class, Format: f.Format, Name: f.Name,
		Digest: f.Digest.String(), Size: f.Size, Key: strings.ToUpper(fmt.Sprintf("%x", f.Key)), UserID: f.UserID, Job: f.Job.String(),
		Created: f.Created.Format(time.RFC3339), Entry: f.Index, Checkpoint: f.Checkpoint, Host: f.SubmittedBy, Emulated: f.Emulated, Standing: f.Cert.Standing(time.Now()),
	}
}
