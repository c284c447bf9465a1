package sign

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/cli/hashing"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// Options are what a request for signatures is made of besides its files; the
// flags of a command set them.
type Options struct {
	Format string // name of a format (appliance/sigformat)
	Alg    string // hash: sha256, sha384 or sha512

	class      string        // of the policy; empty: the first that fits
	timeout    time.Duration // the request's, for approvals and the operator
	reconnect  time.Duration // how long a daemon that went away is waited for
	armor      bool          // the signature as text
	inPlace    bool          // enclosed formats: the signature goes into the file itself
	allowEmpty bool          // files of 0 bytes too
	quiet      bool          // nothing is told while waiting
}

// Ask are the flags that say what is asked for.
func (f *Options) Ask(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.class, "class", "", "policy class (default: the first that fits the names)")
	fl.StringVar(&f.Alg, "hash", "sha256", "sha256, sha384 or sha512; keys on P-384 need one of the latter")
	fl.StringVar(&f.Format, "format", sigformat.OpenPGPBinary.Name, strings.Join(sigformat.FormatNames(), ", "))
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long the request may wait, for approvals and the operator")
	fl.BoolVar(&f.allowEmpty, "allow-empty", false, "files of 0 bytes too")
}

// Wait are the flags about the time until the signature is there.
func (f *Options) Wait(c *cobra.Command) {
	c.Flags().DurationVar(&f.reconnect, "reconnect", time.Minute, "how long to wait for a touchmark-hostd that went away meanwhile")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "say nothing while waiting")
}

// AskMetadata are the flags of commands that have in-toto metadata signed: into the
// file itself.
func (f *Options) AskMetadata(c *cobra.Command) {
	f.inPlace = true
	fl := c.Flags()
	fl.StringVar(&f.class, "class", "", "policy class (default: the first that fits the names)")
	fl.StringVar(&f.Format, "format", "in-toto-gpg", "in-toto-gpg or in-toto-native")
	fl.StringVar(&f.Alg, "hash", "sha256", "sha256; keys on P-384 need sha384")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long the request may wait, for approvals and the operator")
	f.Wait(c)
}

// CheckMetadata refuses a format that is none of in-toto metadata.
func (f *Options) CheckMetadata() error {
	if format, _ := sigformat.FormatOf(f.Format); format.Family != sigformat.FamilyInToto {
		return api.Errorf(api.Usage, "--format %s: use in-toto-gpg or in-toto-native", f.Format)
	}
	return nil
}

// checkAsked refuses what can be seen to be wrong before any file is read, and
// adds up the files' sizes.
func checkAsked(paths []string, f *Options) (format sigformat.Format, total int64, err error) {
	if err := checkCall(paths, message.Alg(f.Alg), f); err != nil {
		return format, 0, err
	}
	format, known := sigformat.FormatOf(f.Format)
	switch {
	case !known:
		return format, 0, api.Errorf(api.Usage, "--format %s: use %s", f.Format, strings.Join(sigformat.FormatNames(), ", "))
	case f.armor && format.Family != sigformat.FamilyOpenPGP:
		return format, 0, api.Errorf(api.Usage, "--armor: only OpenPGP has it, %s does not", f.Format)
	}
	total, err = hashing.Check(paths, format, f.allowEmpty)
	return format, total, err
}

// checkCall refuses what is wrong whatever the files hold.
func checkCall(paths []string, alg message.Alg, f *Options) error {
	switch {
	case !alg.Valid():
		return api.Errorf(api.Usage, "--hash %s: use sha256, sha384 or sha512", f.Alg)
	case f.timeout < time.Second || f.timeout > 7*24*time.Hour:
		return api.Errorf(api.Usage, "--timeout %s: use 1s to 168h", f.timeout)
	case len(paths) > message.MaxItems:
		return api.Errorf(api.Usage, "%d files: sign at most %d at once", len(paths), message.MaxItems)
	}
	for i, p := range paths {
		if err := message.ValidName(filepath.Base(p)); err != nil {
			if _, missing := os.Stat(p); missing != nil { // such as *.iso, where the shell finds none
				return api.Errorf(api.BadInput, "%w", api.Plain(missing))
			}
			return api.Errorf(api.BadInput, "%w: rename the file", err)
		}
		same := func(q string) bool { return filepath.Base(q) == filepath.Base(p) }
		if slices.ContainsFunc(paths[:i], same) {
			return api.Errorf(api.Usage, "two files are called %s: sign them in separate calls", filepath.Base(p))
		}
	}
	return nil
}
