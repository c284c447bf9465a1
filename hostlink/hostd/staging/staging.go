// Package staging is what rounds do with files (docs/rounds.md): it takes
// snapshots of a directory that repository tools work in, and puts a signed
// snapshot in place of the directory that clients are served from.
//
// A snapshot is the directory that will be published, made beside the published
// one: packages and other files as hard links (copies where there can be none),
// what is signed as copies of our own, symbolic links as they are. It is taken
// under the repository tools' lock, which is held for the links only.
//
//	PARENT/NAME                   is published; .touchmark in it says which snapshot it is
//	PARENT/.NAME.touchmark/12     snapshot 12, not published yet
//	PARENT/.NAME.touchmark/12.new one that is being taken
//	PARENT/.NAME.touchmark/old    what was published before, for whoever still reads in it
//	PARENT/.NAME.touchmark/dead   what was before that, while it is removed
//
// # Guarantees
//
//   - A directory that was opened, or that a process works in, has database,
//     files, symbolic links and signatures of one snapshot: it is made beside the
//     published one, synced, and exchanged with it in one step of the kernel.
//   - Everything may end at any point, by a kill or a power cut: Publish of the
//     same snapshot again goes on, and ends in the same state.
//   - What is published as signed was hashed again just before.
//   - A directory that was not made here is never replaced.
//   - Whoever may write to the staging directory has nothing published that was
//     not in it: no symbolic link in it is followed, also not one that is put into
//     the place of a directory or a file while a snapshot is taken. Nor can he
//     write to the directories and signed files that are published.
//
// Paths come from the administrator's configuration and are trusted: whoever may
// write to the directory that Dir is in decides what Dir is.
package staging

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledgerstore/durable"
)

// Sign says how the files of a pattern are signed.
type Sign struct {
	File   string // a name or a pattern of path.Match, in Repository.Dir itself
	Format sigformat.Format
	Alg    message.Alg
	Armor  bool
	As     string // name of the signature; "": the file's with .sig, or .asc where it is text
}

// pattern reports whether File may be the name of more than one file, or of none.
func (s *Sign) pattern() bool { return strings.ContainsAny(s.File, `*?[\`) }

// output is the name of a file's signature.
func (s *Sign) output(name string) string {
	switch {
	case s.As != "":
		return s.As
	case s.Armor || s.Format.Cleartext():
		return name + ".asc"
	}
	return name + ".sig"
}

// proof is the name of the proof that goes with it.
func (s *Sign) proof(name string) string {
	if s.As != "" {
		return s.As + ".tmproof"
	}
	return name + ".tmproof"
}

// Repository is what one rule is about.
type Repository struct {
	Rule string
	Dir  string // where repository tools work
	Into string // what clients are served from
	Lock string // file that the tools lock Dir by; "" for none
	Sign []Sign
	Skip []string // patterns of names that are not published; those with a leading dot never are

	held bool         // the lock, by us
	step func(string) // told at each step; tests end the program there
}

// Form is a short text that is another one when the rule says otherwise what is
// signed, how, and what of the staging directory is published.
func (r *Repository) Form() string {
	h := sha256.New()
	for _, s := range r.Sign {
		fmt.Fprintf(h, "sign %q %q %q %t %q\n", s.File, s.Format.Name, s.Alg, s.Armor, s.As)
	}
	for _, s := range r.Skip {
		fmt.Fprintf(h, "skip %q\n", s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Errors that pass by themselves.
var (
	ErrLocked = errors.New("a repository tool is at work")
	ErrMoved  = durable.ErrMoved
	// ErrPartial: of a database and its list of files, say, one is there. To
	// publish that would take the other from clients, with nobody's signature.
	ErrPartial = errors.New("a file that the rule signs is not there")
)

// Passes reports whether an error is one of those.
func Passes(err error) bool {
	return errors.Is(err, ErrLocked) || errors.Is(err, ErrMoved) || errors.Is(err, ErrPartial)
}

// ErrDamaged says that the files of a snapshot are not those that were signed.
// Another snapshot is needed.
var ErrDamaged = errors.New("the files of the snapshot are damaged or gone")

// base is where snapshots are. The directory is closed to others: what is not
// signed yet is nobody's business.
func (r *Repository) base() string {
	return filepath.Join(filepath.Dir(r.Into), "."+filepath.Base(r.Into)+".touchmark")
}

func (r *Repository) generation(number uint64) string {
	return filepath.Join(r.base(), fmt.Sprint(number))
}

func (r *Repository) old() string { return filepath.Join(r.base(), "old") }

// marker is the file that says which snapshot a directory is.
const (
	marker       = ".touchmark"
	markerDomain = "touchmark/snapshot/v1"
	maxMarker    = 1 << 10
)

func (r *Repository) markerText(number uint64) []byte {
	w := canon.NewWriter(markerDomain)
	w.Line("rule", r.Rule)
	w.Line("number", canon.Uint(number))
	return w.Bytes()
}

// Published is the number of the snapshot that clients are served, 0 if there
// is none. A directory that was not made here is an error.
func (r *Repository) Published() (uint64, error) {
	if st, err := os.Lstat(r.Into); err == nil && st.Mode().Type() == fs.ModeSymlink {
		return 0, fmt.Errorf("%s is a symbolic link: name the directory that it leads to", r.Into)
	}
	text, err := durable.ReadFile(durable.OS, filepath.Join(r.Into, marker), maxMarker)
	if errors.Is(err, fs.ErrNotExist) {
		names, err := durable.OS.List(r.Into)
		if err = durable.IgnoreMissing(err); err == nil && len(names) > 0 {
			err = fmt.Errorf("%s has files in it and was not made by touchmark-hostd: move it away, or name another directory", r.Into)
		}
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	c := canon.NewReader(text, markerDomain)
	rule, number := c.Line("rule", 1)[0], c.Uint(c.Line("number", 1)[0], message.MaxTreeSize)
	if err := c.Close(); err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(r.Into, marker), err)
	}
	if rule != r.Rule {
		return 0, fmt.Errorf("%s is published by rule %q: two rules cannot share a directory", r.Into, rule)
	}
	return number, nil
}

// Keep removes snapshots that nobody needs any more.
func (r *Repository) Keep(numbers []uint64) error {
	names, err := durable.OS.List(r.base())
	if err != nil {
		return durable.IgnoreMissing(err)
	}
	var errs []error
	for _, name := range names {
		if name != filepath.Base(r.old()) && !slices.ContainsFunc(numbers, func(n uint64) bool { return fmt.Sprint(n) == name }) {
			errs = append(errs, os.RemoveAll(filepath.Join(r.base(), name)))
		}
	}
	return errors.Join(errs...)
}

// skipped reports whether a name is not published.
func (r *Repository) skipped(name string) bool {
	return strings.HasPrefix(name, ".") || filepath.Join(r.Dir, name) == r.Lock ||
		slices.ContainsFunc(r.Skip, func(p string) bool { return matches(p, name) })
}

// matches is path.Match for patterns that were checked when they were read.
func matches(pattern, name string) bool {
	ok, err := filepath.Match(pattern, name)
	return ok && err == nil
}

// artifact is a file that is signed.
type artifact struct {
	name string
	sign []*Sign
}

// picked is what is signed of a directory, and what the signatures will be
// called: a file of such a name in the staging directory is neither signed nor
// published.
type picked struct {
	list    []artifact
	outputs map[string]bool
}

// pick chooses what is signed out of the names of regular files, which are in
// order: so the file of a signature comes before the signature.
func (r *Repository) pick(names []string) picked {
	p := picked{outputs: map[string]bool{}}
	for _, s := range r.Sign {
		if s.As != "" {
			p.outputs[s.As], p.outputs[s.proof("")] = true, true
		}
	}
	for _, name := range names {
		if r.skipped(name) || p.outputs[name] {
			continue
		}
		a := artifact{name: name}
		for i := range r.Sign {
			if s := &r.Sign[i]; matches(s.File, name) {
				a.sign = append(a.sign, s)
				p.outputs[s.output(name)], p.outputs[s.proof(name)] = true, true
			}
		}
		if len(a.sign) > 0 {
			p.list = append(p.list, a)
		}
	}
	return p
}

// check says what cannot be signed: an item of each artifact and format.
func (a artifact) check() error {
	if err := round.CheckName(a.name); err != nil {
		return fmt.Errorf("%w: rename the file", err)
	}
	for i, s := range a.sign {
		if slices.ContainsFunc(a.sign[:i], func(o *Sign) bool { return o.Format.Name == s.Format.Name }) {
			return fmt.Errorf("%s is to be signed twice as %s: change the patterns of the rule", a.name, s.Format.Name)
		}
	}
	return nil
}
