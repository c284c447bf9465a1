package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/hostd/staging"
	"touchmark/hostlink/hostd/watch"
	"touchmark/hostlink/message"
)

// Watch is one [[watch]] table (docs/rounds.md).
type Watch struct {
	Rule   string `toml:"rule"`
	Class  string `toml:"class"`  // of the policy
	Urgent string `toml:"urgent"` // of the policy, for urgent rounds; "" has none
	Batch  int    `toml:"batch"`  // files in one request; default 16

	Dir  string   `toml:"dir"`  // where repository tools work
	Into string   `toml:"into"` // what clients are served from
	Lock string   `toml:"lock"` // the tools' lock file, in dir unless absolute; "" for none
	Skip []string `toml:"skip"` // patterns of what is not published; default *.old and *.old.sig

	Always bool     `toml:"always"`
	At     []string `toml:"at"`
	Every  Duration `toml:"every"`
	Window Duration `toml:"window"` // default 1h
	Stale  Duration `toml:"stale"`  // 0: never

	Hook  []string    `toml:"hook"`
	Alarm []string    `toml:"alarm"`
	Sign  []WatchSign `toml:"sign"`
}

// WatchSign is one [[watch.sign]] table.
type WatchSign struct {
	File   string `toml:"file"`
	Format string `toml:"format"` // default openpgp-binary
	Hash   string `toml:"hash"`   // default sha256
	Armor  bool   `toml:"armor"`
	As     string `toml:"as"`
}

// watchKeys are the keys of both tables, for who mistypes one.
const watchKeys = "rule, class, urgent, batch, dir, into, lock, skip, always, at, every, window, stale, hook and alarm; in [[watch.sign]] file, format, hash, armor and as"

// resolve takes relative paths from the directory of the configuration.
func (w *Watch) resolve(dir string) {
	for _, p := range []*string{&w.Dir, &w.Into} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
		*p = filepath.Clean(*p)
	}
	if w.Lock != "" && !filepath.IsAbs(w.Lock) {
		w.Lock = filepath.Join(w.Dir, w.Lock)
	}
}

// Rules are the [[watch]] tables as the daemon takes them. A configuration that
// was loaded has valid ones.
func (c *Config) Rules() ([]watch.Rule, error) {
	var rules []watch.Rule
	var plain []round.Rule
	for i := range c.Watch {
		r, err := c.Watch[i].parse()
		if err == nil {
			err = apart(rules, &r)
		}
		if err != nil {
			return nil, fmt.Errorf(" [[watch]] %q: %w", c.Watch[i].Rule, err)
		}
		rules, plain = append(rules, r), append(plain, r.Rule)
	}
	if err := round.Check(plain); err != nil {
		return nil, fmt.Errorf(" [[watch]]: %w", err)
	}
	return rules, nil
}

func (w *Watch) parse() (watch.Rule, error) {
	r := watch.Rule{Hook: w.Hook, Alarm: w.Alarm, Rule: round.Rule{
		Name: w.Rule, Class: w.Class, Urgent: w.Urgent, Batch: w.Batch, Always: w.Always,
		Every: time.Duration(w.Every), Window: time.Duration(w.Window), Stale: time.Duration(w.Stale),
	}}
	if w.Batch == 0 {
		r.Batch = round.MaxBatch
	}
	if w.Window == 0 {
		r.Window = time.Hour
	}
	for _, s := range w.At {
		at, err := round.ParseDaytime(s)
		if err != nil {
			return r, fmt.Errorf("at: %w", err)
		}
		r.At = append(r.At, at)
	}
	slices.Sort(r.At)
	if !message.ValidToken(w.Rule) || !message.ValidToken(w.Class) || w.Urgent != "" && !message.ValidToken(w.Urgent) {
		return r, errors.New("rule, class and urgent are names of a-z, 0-9, \".\", \"_\" and \"-\"")
	}
	for _, argv := range [][]string{w.Hook, w.Alarm} {
		if len(argv) > 0 && !filepath.IsAbs(argv[0]) {
			return r, fmt.Errorf("%q: name a program by its absolute path, and its arguments one by one", argv[0])
		}
	}
	var err error
	r.Files, err = w.files()
	return r, err
}

func (w *Watch) files() (staging.Repository, error) {
	r := staging.Repository{Rule: w.Rule, Dir: w.Dir, Into: w.Into, Lock: w.Lock, Skip: w.Skip}
	if w.Skip == nil {
		r.Skip = []string{"*.old", "*.old.sig"}
	}
	if w.Dir == "" || w.Into == "" || len(w.Sign) == 0 {
		return r, errors.New("dir, into and at least one [[watch.sign]] must be there")
	}
	if within(w.Dir, w.Into) || within(w.Into, w.Dir) {
		return r, errors.New("dir and into must be apart: clients must not be served what is not signed yet")
	}
	for _, p := range r.Skip {
		if _, err := filepath.Match(p, ""); err != nil {
			return r, fmt.Errorf("skip: %q is no pattern", p)
		}
	}
	for i := range w.Sign {
		s, err := w.Sign[i].parse()
		if err != nil {
			return r, fmt.Errorf("file = %q: %w", w.Sign[i].File, err)
		}
		if slices.ContainsFunc(r.Sign, func(o staging.Sign) bool { return o.File == s.File && o.Format.Name == s.Format.Name }) {
			return r, fmt.Errorf("file = %q is to be signed twice as %s", s.File, s.Format.Name)
		}
		r.Sign = append(r.Sign, s)
	}
	return r, nil
}

// within reports whether a path is another or below it, whatever symbolic links lead there.
func within(path, dir string) bool {
	path, dir = linkless(path), linkless(dir)
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// linkless is a path without symbolic links, as far as it is there.
func linkless(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(linkless(dir), filepath.Base(path))
	}
	return path
}

func (w *WatchSign) parse() (staging.Sign, error) {
	s := staging.Sign{File: w.File, Alg: message.Alg(w.Hash), Armor: w.Armor, As: w.As}
	if w.Hash == "" {
		s.Alg = message.SHA256
	}
	name := w.Format
	if name == "" {
		name = sigformat.OpenPGPBinary.Name
	}
	format, known := sigformat.FormatOf(name)
	s.Format = format
	_, bad := filepath.Match(w.File, "")
	switch {
	case !known:
		return s, fmt.Errorf("format %q: use %s", w.Format, strings.Join(sigformat.FormatNames(), ", "))
	case format.Enclosed():
		return s, fmt.Errorf("format %q is for documents: have them signed with touchmark sign", w.Format)
	case !s.Alg.Valid():
		return s, fmt.Errorf("hash %q: use sha256, sha384 or sha512", w.Hash)
	case w.Armor && format.Family != sigformat.FamilyOpenPGP:
		return s, fmt.Errorf("armor: only OpenPGP has it, %s does not", name)
	case w.File == "" || strings.Contains(w.File, "/") || strings.HasPrefix(w.File, ".") || bad != nil:
		return s, errors.New("file is the name of a file in dir, or a pattern such as \"*.iso\"")
	case w.As != "" && strings.ContainsAny(w.File, "*?[\\"):
		return s, errors.New("as is for one file: name it without a pattern")
	case w.As != "" && (round.CheckName(w.As) != nil || w.As == w.File || strings.HasPrefix(w.As, ".")):
		return s, fmt.Errorf("as = %q is no name of a file beside it", w.As)
	}
	return s, nil
}

// apart refuses a rule that would publish where another does.
func apart(rules []watch.Rule, r *watch.Rule) error {
	for i := range rules {
		o := &rules[i]
		if within(o.Files.Into, r.Files.Into) || within(r.Files.Into, o.Files.Into) {
			return fmt.Errorf("into is that of rule %q, or one is in the other", o.Name)
		}
		if within(r.Files.Dir, o.Files.Into) || within(o.Files.Dir, r.Files.Into) {
			return fmt.Errorf("dir and into of rule %q are in one another", o.Name)
		}
	}
	return nil
}
