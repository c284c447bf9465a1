// Package aptclient makes of a signed layout the Debian package that turns a machine
// into a client of it: whoever installs it gets layout, the owners' keys and the
// configuration of apt-transport-in-toto in one go, and the next layout as an
// upgrade.
//
// # Format
//
//	/etc/apt/apt.conf.d/intoto-NAME       read after the transport's own file, and instead of it
//	/etc/intoto/NAME/root.layout
//	/etc/intoto/NAME/gnupg/pubring.gpg    the owners' certificates, as gpg reads a keyring
//	/usr/share/doc/NAME-intoto-client/README
//
// # Guarantees
//
// A package is made only of a layout that has not lapsed, that every owner who is
// named in it has signed as in-toto's clients verify it, and that the rebuilders who
// are named in it can fulfil. The transport's setting NoFail, which has packages with
// too few links installed, is off. The same input gives the same bytes. The package
// is pure.
package aptclient

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"touchmark/appliance/sigformat/document"
	"touchmark/appliance/sigformat/document/keys"
	"touchmark/hostlink/deb"
	"touchmark/hostlink/intoto"
	"touchmark/hostlink/message"
)

// Config is what a client is to have.
type Config struct {
	Name       string // of the distribution: in the names of package and files
	Version    string // of the package
	Maintainer string // "Name <mail>"; empty: the first owner's user id
	Layout     []byte // the file, signed
	Owners     []*intoto.Functionary
	Rebuilders []string // addresses that links are asked for
}

// ErrLapsed is a layout that no client would take any more.
var ErrLapsed = errors.New("the layout has lapsed")

// nameForm leaves out what a file below apt.conf.d must not have in its name, or
// apt does not read it (apt.conf(5)).
var nameForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`) })

// Check says what is wrong with the name or with the rebuilders' addresses, as such.
func (c Config) Check() error {
	if !nameForm().MatchString(c.Name) {
		return fmt.Errorf("%q is no name for a client's configuration: use up to %d of a-z 0-9 -", c.Name, maxName)
	}
	if len(c.Rebuilders) > maxRebuilders {
		return fmt.Errorf("%d rebuilders: at most %d", len(c.Rebuilders), maxRebuilders)
	}
	for i, r := range c.Rebuilders {
		if err := checkAddress(r); err != nil {
			return err
		}
		if slices.ContainsFunc(c.Rebuilders[:i], func(o string) bool { return place(o) == place(r) }) {
			return fmt.Errorf("the rebuilder %s is given twice", r)
		}
	}
	return nil
}

// Package makes the package.
func (c Config) Package(now time.Time) (*deb.Package, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	layout, err := c.check(now)
	if err != nil {
		return nil, err
	}
	if c.Maintainer == "" {
		c.Maintainer = c.Owners[0].UserID
	}
	dir := "etc/intoto/" + c.Name + "/"
	name := c.Name + "-intoto-client"
	p := &deb.Package{
		Name: name, Version: c.Version, Maintainer: c.Maintainer, Section: "admin",
		// The transport knows one layout: two such packages would undo each other.
		Relations: []deb.Field{{Name: "Depends", Value: "apt-transport-in-toto, gpg"}, {Name: "Provides", Value: "touchmark-intoto-client"}, {Name: "Conflicts", Value: "touchmark-intoto-client"}},
		Synopsis:  "in-toto layout, keys and apt configuration of " + c.Name,
		Text: []string{
			"With this, apt installs a package from an intoto:// source only if as many",
			"rebuilders as the layout demands have made the same package.",
			"", fmt.Sprintf("The layout lapses %s.", layout.Expires.Format(keys.TimeForm)),
		},
		Files: []deb.File{
			{Path: "etc/apt/apt.conf.d/intoto-" + c.Name, Content: []byte(c.conf(dir))},
			{Path: dir + "root.layout", Content: c.Layout},
			{Path: dir + "gnupg/pubring.gpg", Content: c.keyring()},
			{Path: "usr/share/doc/" + name + "/README", Content: []byte(c.readme(layout))},
		},
		Scripts: map[string]string{"postrm": fmt.Sprintf(postrm, c.Name)},
		Time:    c.made(),
	}
	return p, nil
}

// postrm takes away what gpg may have written beside the keyring, as root.
const postrm = `#!/bin/sh
set -e
if [ "$1" = purge ]; then
  rm -rf "$DPKG_ROOT/etc/intoto/%[1]s/gnupg"
  for dir in "/etc/intoto/%[1]s" /etc/intoto; do
    rmdir "$DPKG_ROOT$dir" 2>/dev/null || true # others may have something there
  done
fi
`

// check holds layout, owners and rebuilders against each other.
func (c Config) check(now time.Time) (*intoto.Metadata, error) {
	m, err := intoto.Open(c.Layout)
	switch {
	case err != nil:
		return nil, err
	case m.Kind != document.Layout:
		return nil, fmt.Errorf("an %s, not a layout", m.Kind)
	case m.Due(now, 0):
		return nil, fmt.Errorf("%w, at %s", ErrLapsed, m.Expires.Format(keys.TimeForm))
	case len(c.Owners) == 0 || len(c.Owners) > maxOwners:
		return nil, fmt.Errorf("%d owners of the layout: name 1 to %d", len(c.Owners), maxOwners)
	case m.Links() == 0:
		return nil, errors.New("the layout has no steps: every package would pass")
	case len(c.Rebuilders) < m.Links():
		return nil, fmt.Errorf("the layout demands %d links of different rebuilders, and there are %d addresses to ask: no package could be installed", m.Links(), len(c.Rebuilders))
	}
	for i, o := range c.Owners {
		if slices.ContainsFunc(c.Owners[:i], func(p *intoto.Functionary) bool { return p.ID == o.ID }) {
			return nil, fmt.Errorf("the owner's key %s is given twice", o.ID)
		}
		if err := m.SignedBy(o); err != nil {
			return nil, fmt.Errorf("no client would take the layout for its owner's: %w", err)
		}
	}
	return m, nil
}

// addressForm is what apt hands to its methods as it stands and the transport does
// not cut at: no quotes, no percent signs, no "::".
var addressForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~+@-]+)*/?$`)
})

func checkAddress(r string) error {
	if !addressForm().MatchString(r) || len(r) > maxAddress {
		return fmt.Errorf("%.200q is no address of a rebuilder that apt-transport-in-toto can be given: write http:// or https://, a host's name or IPv4 address, and a plain path", r)
	}
	return nil
}

// place is where an address leads, in one spelling: hosts have no capitals (RFC 3986 §6.2.2.1), and the transport takes the
// last slash away. Two addresses of one place give one link.
func place(address string) string {
	scheme, rest, _ := strings.Cut(address, "://")
	host, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + strings.ToLower(host) + "/" + strings.TrimRight(path, "/")
}

// made is when the youngest of the owners' keys was made: a time that lies back and
// is the same for the same input.
func (c Config) made() (t time.Time) {
	for _, o := range c.Owners {
		if o.Made.After(t) {
			t = o.Made
		}
	}
	return t
}

// keyring are the owners' certificates one behind the other, which is gpg's keyring.
func (c Config) keyring() (b []byte) {
	for _, o := range c.Owners {
		b = append(b, o.Certificate...)
	}
	return b
}

// conf configures the transport. Its own file, intoto, is read before and names other
// rebuilders, another layout, and NoFail; lists of apt's add up.
func (c Config) conf(dir string) string {
	var b strings.Builder
	b.WriteString("// Packages of intoto:// sources are installed if the rebuilders below made the same.\n" +
		"// The transport has one layout and one list of rebuilders: what is configured in\n" +
		"// files that are read before this one is put aside. What is to be otherwise on this\n" +
		"// machine belongs in a file that is read later, such as zz-intoto.\n" +
		"#clear APT::Intoto;\nAPT::Intoto {\n  LogLevel { \"20\"; };\n  Rebuilders {\n")
	for _, r := range c.Rebuilders {
		fmt.Fprintf(&b, "    %q;\n", r)
	}
	fmt.Fprintf(&b, "  };\n  Layout { \"/%sroot.layout\"; };\n  Keyids {\n", dir)
	for _, o := range c.Owners {
		fmt.Fprintf(&b, "    \"%s\";\n", strings.ToUpper(o.ID))
	}
	fmt.Fprintf(&b, "  };\n  GPGHomedir { \"/%sgnupg\"; };\n};\n", dir)
	return b.String()
}

// readme says what people need to know.
func (c Config) readme(layout *intoto.Metadata) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: packages that were rebuilt\n\n", c.Name)
	fmt.Fprintf(&b, "To use it, write intoto:// instead of http:// in the sources of apt. Each package\n"+
		"needs %d equal results of these rebuilders:\n\n", layout.Links())
	for _, r := range c.Rebuilders {
		fmt.Fprintf(&b, "  %s\n", r)
	}
	fmt.Fprintf(&b, "\nThe layout lapses %s: an upgrade of this package must\nbring another before. It is signed by\n\n", layout.Expires.Format(keys.TimeForm))
	for _, o := range c.Owners {
		fmt.Fprintf(&b, "  %s  %s\n", strings.ToUpper(o.ID), printable(o.UserID))
	}
	b.WriteString("\nCompare these fingerprints with a copy that came another way. \"apt remove\" keeps\n" +
		"the configuration, and with it the check; \"apt purge\" takes it away.\n")
	return b.String()
}

// printable is a user id as it may stand in a text for people.
func printable(userID string) string {
	if message.ValidHuman(userID) {
		return userID
	}
	return strconv.QuoteToASCII(userID)
}
