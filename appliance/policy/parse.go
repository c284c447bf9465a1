package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy/document"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
)

// version is the only version of policies there is.
const version = 1

// What the words of a policy can be. Enrolment and signing say which
// algorithms and families they can do; a policy may name the others.
var (
	algorithms = []string{"p256", "rsa2048", "p384", "rsa3072", "rsa4096", "ed25519"}
	slots      = pivSlots()
	families   = []string{sigformat.FamilyOpenPGP, sigformat.FamilySSH, sigformat.FamilyRaw, sigformat.FamilyInToto, sigformat.FamilyDSSE}
)

// pivSlots are the key slots of NIST SP 800-73-4 part 1 table 4b: 9a, 9c, 9d,
// 9e and the retired ones 82-95.
func pivSlots() []string {
	s := []string{"9a", "9c", "9d", "9e"}
	for i := 0x82; i <= 0x95; i++ {
		s = append(s, fmt.Sprintf("%02x", i))
	}
	return s
}

// Error says where a policy is wrong and what to write instead; Errors are all
// such places.
type (
	Error  = document.Error
	Errors = document.Errors
)

// Parse reads the TOML text of a policy and checks all of it. The error is an
// Errors, in which errors.As finds the first *Error.
func Parse(text []byte) (*Policy, error) {
	c := &checker{keys: map[string]string{}, labels: map[string]string{}, ids: map[string]bool{}, wrong: map[string]bool{}}
	var err error
	if c.doc, err = document.Read(text, MaxText, schema, &c.file); err != nil {
		return nil, err
	}
	return c.validate(text)
}

// validate checks every value and every reference of a document.
func (c *checker) validate(text []byte) (*Policy, error) {
	p := &Policy{Hash: sha256.Sum256(text), Text: bytes.Clone(text)}
	for _, check := range []func(*Policy){c.head, c.administrators, c.recovery, c.hosts, c.approvers, c.tokenKeys, c.classes} {
		check(p)
	}
	if err := c.errs.Sorted(); err != nil {
		return nil, err
	}
	return p, nil
}

// checker holds what checks of different tables share. Of each value the first
// mistake is kept: the others may be its consequences.
type checker struct {
	doc    *document.Document
	file   file
	errs   Errors
	wrong  map[string]bool   // paths in errs
	keys   map[string]string // public key → who has it
	labels map[string]string // key for SSH or raw signatures → its one format
	ids    map[string]bool   // note key name and hash
}

func (c *checker) fail(path, format string, a ...any) {
	if !c.wrong[path] {
		c.errs, c.wrong[path] = append(c.errs, c.doc.Errorf(path, format, a...)), true
	}
}

// check fails at path unless ok.
func (c *checker) check(ok bool, path, format string, a ...any) {
	if !ok {
		c.fail(path, format, a...)
	}
}

func (c *checker) head(p *Policy) {
	f := &c.file
	c.check(f.Version == version, "version", "this program reads version %d only: write version = %d", version, version)
	if err := message.ValidOrigin(f.Origin); err != nil {
		c.fail("origin", "%v", err)
	}
	c.check(f.Serial >= 1 && f.Serial <= MaxSerial, "serial", "serials start at 1 and rise by 1: write serial = 1 for the first policy")
	c.previous(p)
	var err error
	if p.MaxSkew, err = parseDuration(f.MaxSkew, MaxSkew); err != nil {
		c.fail("max_skew", "%v", err)
	}
	if p.MaxValidity, err = parseDuration(f.MaxValidity, MaxValidity); err != nil {
		c.fail("max_validity", "%v", err)
	}
	p.Origin, p.Serial = f.Origin, f.Serial
}

func (c *checker) previous(p *Policy) {
	prev := c.file.Previous
	if c.file.Serial == 1 {
		c.check(prev == "", "previous", "the first policy has no previous one: write previous = \"\"")
		return
	}
	b, err := hex.DecodeString(prev)
	if err != nil || len(b) != len(p.Previous) || hex.EncodeToString(b) != prev {
		c.fail("previous", "write the hash of the policy with serial %d: 64 lowercase hexadecimal digits", c.file.Serial-1)
		return
	}
	p.Previous = [32]byte(b)
}

func (c *checker) administrators(p *Policy) {
	a := &c.file.Administrators
	p.Administrators = c.quorum("administrators", a.Quorum, a.Keys, "an administrator")
}

func (c *checker) recovery(p *Policy) {
	if r := c.file.Recovery; r != nil {
		p.Recovery = c.quorum("recovery", r.Quorum, r.Keys, "recovery")
	}
}

// quorum reads a table of keys of which a number must sign.
func (c *checker) quorum(table string, need uint64, keys []string, owner string) Administrators {
	a := Administrators{Quorum: int(need), Texts: keys}
	c.bound(table+".keys", len(keys), MaxAdministrators)
	for i, k := range keys {
		a.Keys = append(a.Keys, c.noteKey(fmt.Sprintf("%s.keys[%d]", table, i), k, owner))
	}
	c.check(len(keys) == 0 || need >= 1 && need <= uint64(len(keys)), table+".quorum",
		"the quorum is from 1 to the number of keys, which is %d", len(keys))
	return a
}

func (c *checker) hosts(p *Policy) {
	c.bound("host[0]", len(c.file.Hosts), MaxHosts)
	for i, h := range c.file.Hosts {
		at := fmt.Sprintf("host[%d]", i)
		c.word(at+".name", h.Name)
		_, dup := find(p.Hosts, func(o *Host) bool { return o.Name == h.Name })
		c.check(!dup, at+".name", "there is a host %q already: give each host its own name", h.Name)
		p.Hosts = append(p.Hosts, Host{Name: h.Name, Key: c.noteKey(at+".key", h.Key, "host "+h.Name), Text: h.Key})
	}
}

func (c *checker) approvers(p *Policy) {
	c.check(len(c.file.Approvers) <= MaxApprovers, "approver[0]", "%d approver keys, at most %d", len(c.file.Approvers), MaxApprovers)
	for i, a := range c.file.Approvers {
		at := fmt.Sprintf("approver[%d]", i)
		c.word(at+".person", a.Person)
		p.Approvers = append(p.Approvers, Approver{Person: a.Person, Key: c.noteKey(at+".key", a.Key, "approver "+a.Person), Text: a.Key})
	}
}

// noteKey reads an Ed25519 note key and sees to it that nobody else has it:
// one key, one role, one owner.
func (c *checker) noteKey(path, vkey, owner string) note.Verifier {
	v, err := message.ParseKey(vkey)
	if err != nil {
		c.fail(path, "%v: write the line that \"touchmark key show\" prints", err)
		return nil
	}
	public := strings.SplitN(vkey, "+", 3)[2] // ParseKey accepts one encoding only
	if other, taken := c.keys[public]; taken {
		c.fail(path, "this is the key of %s too: give each its own key (hosts never approve or administer)", other)
	}
	id := fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash())
	c.check(!c.ids[id], path, "another key has the same name and hash %s: make a new key", id)
	c.keys[public], c.ids[id] = owner, true
	return v
}

func (c *checker) tokenKeys(p *Policy) {
	c.bound("key[0]", len(c.file.Keys), MaxKeys)
	for i, k := range c.file.Keys {
		at := fmt.Sprintf("key[%d]", i)
		c.word(at+".name", k.Name)
		c.oneOf(at+".slot", "slot", k.Slot, slots)
		c.oneOf(at+".family", "family", k.Family, families)
		c.oneOf(at+".algorithm", "algorithm", k.Algorithm, algorithms)
		for _, o := range p.Keys {
			c.check(o.Name != k.Name, at+".name", "there is a key %q already: a token key serves one family, give each its own name", k.Name)
			c.check(o.Slot != k.Slot, at+".slot", "slot %s is key %q already: a slot holds one key, and a key serves one family", k.Slot, o.Name)
		}
		p.Keys = append(p.Keys, Key{Name: k.Name, Slot: k.Slot, Family: k.Family, Algorithm: k.Algorithm})
	}
}

func (c *checker) classes(p *Policy) {
	c.bound("class[0]", len(c.file.Classes), MaxClasses)
	for i := range c.file.Classes {
		f, at := &c.file.Classes[i], fmt.Sprintf("class[%d]", i)
		c.word(at+".name", f.Name)
		_, dup := p.Class(f.Name)
		c.check(!dup, at+".name", "there is a class %q already: give each class its own name", f.Name)
		p.Classes = append(p.Classes, c.class(p, f, at))
	}
}

func (c *checker) class(p *Policy, f *fileClass, at string) Class {
	cl := Class{Name: f.Name, Keys: f.Keys, Hosts: f.Hosts, Names: f.Names, Formats: f.Formats, Approvals: int(f.Approvals), Batch: int(f.Batch)}
	c.eachOnce(at+".keys", f.Keys, func(path, k string) {
		c.oneOf(path, "key", k, names(p.Keys, func(k Key) string { return k.Name }))
	})
	c.eachOnce(at+".hosts", f.Hosts, func(path, h string) {
		c.oneOf(path, "host", h, names(p.Hosts, func(h Host) string { return h.Name }))
	})
	c.eachOnce(at+".names", f.Names, c.pattern)
	c.eachOnce(at+".formats", f.Formats, func(path, format string) { c.format(p, path, format, f.Keys) })
	var err error
	if cl.MaxSize, err = parseSize(f.MaxSize, message.MaxItemSize); err != nil {
		c.fail(at+".max_size", "%v", err)
	}
	cl.Rates = c.rates(at+".rates", f.Rates)
	persons := names(p.Approvers, func(a Approver) string { return a.Person })
	slices.Sort(persons)
	persons = slices.Compact(persons)
	c.check(f.Approvals <= uint64(len(persons)), at+".approvals", "%d approvals, but the policy has only %d approving persons: add [[approver]] tables or ask for fewer", f.Approvals, len(persons))
	c.check(f.Batch >= 1 && f.Batch <= message.MaxItems, at+".batch", "a batch is from 1 to %d items", message.MaxItems)
	cl.Documents = c.documents(at+".documents", f)
	return cl
}

// documents reads whether a class takes documents only.
func (c *checker) documents(at string, f *fileClass) bool {
	if f.Documents == nil {
		return false
	}
	c.oneOf(at, "use of documents", *f.Documents, []string{documentsAllowed, documentsDemanded})
	for _, name := range f.Formats {
		format, known := sigformat.FormatOf(name)
		c.check(!known || *f.Documents != documentsDemanded || format.Document() != sigformat.Never, at, "what is signed as %s never comes as a document: give it a class of its own, or write documents = %q", name, documentsAllowed)
	}
	return *f.Documents == documentsDemanded
}

// What a class says of documents: whether an item comes as one is the host's
// choice where its format leaves it, or not.
const (
	documentsAllowed  = "allowed"
	documentsDemanded = "demanded"
)

func (c *checker) rates(path string, texts []string) []Rate {
	var rates []Rate
	c.bound(path, len(texts), MaxRates)
	c.eachOnce(path, texts, func(at, s string) {
		r, err := parseRate(s)
		if err != nil {
			c.fail(at, "%v", err)
		}
		for _, o := range rates {
			c.check(o.Window != r.Window, at, "rate %q has the same window as %q: keep the smaller one", s, o.Text)
		}
		rates = append(rates, r)
	})
	return rates
}

// pattern checks an artifact name pattern: the characters of a name, '*' and
// '?', such that some valid name can match.
func (c *checker) pattern(at, s string) {
	c.check(!strings.Contains(s, "**"), at, "pattern %q: \"**\" means no more than \"*\", which never crosses a slash: write one pattern for each depth", s)
	sample := strings.NewReplacer("*", "a", "?", "a").Replace(s)
	if err := message.ValidName(sample); err != nil {
		c.fail(at, "pattern %q can match no artifact name (%v): use the characters of names, * and ?", s, err)
		return
	}
	ok, err := path.Match(s, sample)
	c.check(ok && err == nil, at, "pattern %q is not valid: use the characters of names, * and ?", s)
}

// format checks a format of a class and that each of its keys makes such: one of
// the format's family, and of a type that can. A key of another family than
// OpenPGP's has one format, so one namespace, label or payload type, whatever its
// classes are.
func (c *checker) format(p *Policy, at, format string, keys []string) {
	f, ok := sigformat.FormatOf(format)
	if !ok {
		c.fail(at, "there is no format %q%s", format, document.OrOneOf(format, sigformat.FormatNames()))
		return
	}
	for _, name := range keys {
		k, ok := p.Key(name)
		if !ok || !slices.Contains(families, k.Family) || c.wrong[at] {
			continue
		}
		c.check(k.Family == f.Family, at, "format %q needs a key of family %s, key %q is %s: a token key serves one family", format, f.Family, k.Name, k.Family)
		c.check(slices.ContainsFunc(message.Algs(), func(a message.Alg) bool { return f.Signs(k.Algorithm, a) == nil }) || !slices.Contains(algorithms, k.Algorithm),
			at, "format %q is nothing that a key of algorithm %s makes: use another key", format, k.Algorithm)
		if f.Family == sigformat.FamilyOpenPGP {
			continue
		}
		c.check(c.labels[name] == "" || c.labels[name] == format, at, "key %q makes %s already: give %s a key of its own", name, c.labels[name], format)
		c.labels[name] = format
	}
}

// eachOnce bounds a list that must not be empty, refuses repetitions and
// checks each element.
func (c *checker) eachOnce(path string, list []string, check func(path, s string)) {
	c.bound(path, len(list), MaxList)
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		c.check(!slices.Contains(list[:i], s), at, "%q stands here twice: remove one", s)
		check(at, s)
	}
}

func (c *checker) bound(path string, n, most int) {
	c.check(n >= 1, path, "the list is empty: write at least one")
	c.check(n <= most, path, "%d of them, at most %d", n, most)
}

func (c *checker) word(path, s string) {
	c.check(message.ValidToken(s), path, "%q is not a name: start with a lowercase letter or digit, then a-z 0-9 . _ -, at most %d", s, message.MaxToken)
}

func (c *checker) oneOf(path, what, s string, from []string) {
	c.check(slices.Contains(from, s), path, "there is no %s %q%s", what, s, document.OrOneOf(s, from))
}

func names[T any](list []T, name func(T) string) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = name(e)
	}
	return out
}
