// Package intoto makes in-toto's layouts and links and looks into those that
// there are: what a repository's owner signs so that clients take only what
// several rebuilders have rebuilt alike.
//
// # Format
//
// A layout is that of Debian's apt-transport-in-toto: one step that the named keys
// do, so many of which must agree, and an inspection that does nothing but hold
// what the client has against the step's products. A link names products by their
// base names with SHA-256, and nothing else. Both are files with an empty list of
// signatures (docs/spec/signature.md §4.5), which the appliance's is put into.
//
// # Guarantees
//
// Everything that is made or opened was read by the board's own reader
// (appliance/sigformat/document): what it would refuse is an error here already, with its
// words. The same input gives the same bytes. The package is pure; files may be hostile.
package intoto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/document"
	"touchmark/appliance/sigformat/document/keys"
	"touchmark/appliance/sigformat/strictjson"
)

// Layout says what a layout is to be.
type Layout struct {
	Step      string // such as "rebuild"
	Products  string // pattern of what clients check, such as "*.deb"
	Threshold int    // how many of the keys must agree
	Expires   time.Time
	Readme    string
	Keys      []*Functionary
}

// DefaultExpiry is when a layout that is made now lapses: two years on, at the
// day's beginning, so that the same call on the same day asks for the same.
func DefaultExpiry(now time.Time) time.Time {
	return now.UTC().AddDate(2, 0, 0).Truncate(24 * time.Hour)
}

// File makes the layout, with no signatures.
func (l Layout) File() ([]byte, error) {
	if !stepForm().MatchString(l.Step) {
		return nil, badStep(l.Step)
	}
	if l.Products == "" {
		return nil, errors.New("no pattern of products: nothing would be checked")
	}
	known, ids := new(strictjson.Object), strictjson.Array{}
	for _, k := range l.Keys {
		if _, twice := known.Get(k.ID); twice {
			return nil, fmt.Errorf("the key %s is given twice: it counts once", k.ID)
		}
		known.Set(k.ID, k.object)
		ids = append(ids, k.ID)
	}
	step, check := item("step", l.Step), item("inspection", "verify-"+l.Step)
	step.Set("expected_products", strictjson.Array{words("CREATE", l.Products), words("DISALLOW", l.Products)})
	step.Set("expected_command", strictjson.Array{})
	step.Set("pubkeys", ids)
	step.Set("threshold", number(int64(l.Threshold)))
	check.Set("expected_materials", strictjson.Array{words("MATCH", l.Products, "WITH", "PRODUCTS", "FROM", l.Step), words("DISALLOW", l.Products)})
	check.Set("run", words("/usr/bin/true"))
	o := new(strictjson.Object)
	o.Set("_type", "layout")
	o.Set("expires", l.Expires.UTC().Format(keys.TimeForm))
	o.Set("inspect", strictjson.Array{check})
	o.Set("keys", known)
	o.Set("readme", l.Readme)
	o.Set("steps", strictjson.Array{step})
	return unsigned(o)
}

// item is what steps and inspections share.
func item(kind, name string) *strictjson.Object {
	o := new(strictjson.Object)
	o.Set("_type", kind)
	o.Set("name", name)
	o.Set("expected_materials", strictjson.Array{})
	o.Set("expected_products", strictjson.Array{})
	return o
}

func words(w ...string) (a strictjson.Array) {
	for _, s := range w {
		a = append(a, s)
	}
	return a
}

// stepForm is what may stand in the name of a link's file.
var stepForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9][A-Za-z0-9_+-]{0,%d}$`, MaxName-1))
})

func badStep(name string) error {
	return fmt.Errorf("%.80q is no name for a step: use up to %d of A-Z a-z 0-9 _ + -", name, MaxName)
}

// Product is a file that a step made.
type Product struct {
	Name   string // without directories
	SHA256 [32]byte
}

// Link makes the link metadata of a step, with no signatures.
func Link(step string, products []Product) ([]byte, error) {
	if !stepForm().MatchString(step) {
		return nil, badStep(step)
	}
	if len(products) == 0 {
		return nil, errors.New("a link of nothing: name the products")
	}
	made := new(strictjson.Object)
	for _, p := range products {
		if _, twice := made.Get(p.Name); twice {
			return nil, fmt.Errorf("two products are called %s: a link has them by their names without directories", p.Name)
		}
		digests := new(strictjson.Object)
		digests.Set("sha256", hex.EncodeToString(p.SHA256[:]))
		made.Set(p.Name, digests)
	}
	o := new(strictjson.Object)
	o.Set("_type", "link")
	o.Set("byproducts", new(strictjson.Object))
	o.Set("command", strictjson.Array{})
	o.Set("environment", new(strictjson.Object))
	o.Set("materials", new(strictjson.Object))
	o.Set("name", step)
	o.Set("products", made)
	return unsigned(o)
}

// LinkName is what in-toto-verify looks for: the step and the first eight digits
// of the key's id.
func LinkName(step, keyID string) string { return fmt.Sprintf("%s.%.8s.link", step, keyID) }

// unsigned is the file of metadata without signatures, which the board must be
// able to read.
func unsigned(signed *strictjson.Object) ([]byte, error) {
	o := new(strictjson.Object)
	o.Set("signatures", strictjson.Array{})
	o.Set("signed", signed)
	file := strictjson.Text(o)
	_, err := Open(file)
	return file, err
}

// Metadata is a layout or a link that was understood.
type Metadata struct {
	document.Document
	Canonical []byte   // what signatures are over
	Signers   []string // ids that the signatures claim; none of them was verified

	signed     *strictjson.Object
	signatures strictjson.Array
}

// format is of its family: both read the same files.
const format = "in-toto-gpg"

// Open reads a file of metadata, with signatures or without.
func Open(file []byte) (*Metadata, error) {
	f, _ := sigformat.FormatOf(format)
	m := new(Metadata)
	var err error
	if m.Canonical, err = f.DocumentOf(file); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), format+": "))
	}
	if m.Document, err = document.Parse(format, m.Canonical); err != nil {
		return nil, err
	}
	v, err := strictjson.ParseCanonical(m.Canonical)
	if err != nil {
		return nil, err
	}
	m.signed, _ = v.(*strictjson.Object)
	whole, err := strictjson.Parse(file)
	if o, ok := whole.(*strictjson.Object); err == nil && ok {
		m.signatures, _ = member(o, "signatures").(strictjson.Array)
	}
	for _, s := range m.signatures {
		m.Signers = append(m.Signers, textOf(s, "keyid"))
	}
	return m, nil
}

// textOf is a member of an object as a string, empty if there is none.
func textOf(v strictjson.Value, name string) string {
	o, ok := v.(*strictjson.Object)
	if !ok {
		return ""
	}
	s, _ := member(o, name).(string)
	return s
}

// Due reports whether a layout lapses within a time from now, or has.
func (m *Metadata) Due(now time.Time, within time.Duration) bool {
	return m.Kind == document.Layout && m.Expires.Sub(now) <= within
}

// Links is how many links of different people a layout demands for a product: the
// thresholds of its steps.
func (m *Metadata) Links() (n int) {
	steps, _ := member(m.signed, "steps").(strictjson.Array)
	for _, s := range steps {
		if s, ok := s.(*strictjson.Object); ok {
			t, _ := member(s, "threshold").(strictjson.Number)
			i, _ := t.Int()
			n += int(i)
		}
	}
	return n
}

// Ending is a key that a layout names, and when it expires.
type Ending struct {
	ID   string
	Time time.Time
}

// Ends are the OpenPGP keys and subkeys of a layout that expire before a time: links
// that are made by one later do not count. The order is that of the layout.
func (m *Metadata) Ends(before time.Time) []Ending {
	known, _ := member(m.signed, "keys").(*strictjson.Object)
	return ends(known, before)
}

func ends(known *strictjson.Object, before time.Time) (all []Ending) {
	if known == nil {
		return nil
	}
	for _, x := range known.Members {
		k, ok := x.Value.(*strictjson.Object)
		if !ok {
			continue
		}
		made, _ := member(k, "creation_time").(strictjson.Number)
		left, _ := member(k, "validity_period").(strictjson.Number)
		from, _ := made.Int()
		seconds, _ := left.Int()
		if end := time.Unix(from+seconds, 0).UTC(); seconds > 0 && end.Before(before) {
			all = append(all, Ending{x.Name, end})
		}
		sub, _ := member(k, "subkeys").(*strictjson.Object)
		all = append(all, ends(sub, before)...)
	}
	return all
}

// Ends are those of a key and its subkeys that expire before a time.
func (f *Functionary) Ends(before time.Time) []Ending {
	o := new(strictjson.Object)
	o.Set(f.ID, f.object)
	return ends(o, before)
}

// Renewed is the layout with another expiry, all else the same, without
// signatures: none would be over it.
func (m *Metadata) Renewed(expires time.Time) ([]byte, error) {
	if m.Kind != document.Layout {
		return nil, fmt.Errorf("an %s does not expire", m.Kind)
	}
	o := new(strictjson.Object)
	for _, x := range m.signed.Members {
		o.Set(x.Name, x.Value)
	}
	o.Set("expires", expires.UTC().Format(keys.TimeForm))
	return unsigned(o)
}

// RenewedAs reports whether the layout is the one in file, which Renewed made, but for
// expiry and signatures.
func (m *Metadata) RenewedAs(file []byte) bool {
	other, err := Open(file)
	if err != nil {
		return false
	}
	same, err := m.Renewed(other.Expires)
	return err == nil && bytes.Equal(same, file)
}
