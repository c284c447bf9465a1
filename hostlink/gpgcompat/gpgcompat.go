// Package gpgcompat understands how repository tools call gpg, as far as signing
// needs it; package reply has the answers.
//
// Parse reads a command line by gpg's own table of options, so that nothing it
// does not know shifts the meaning of what follows. There are three kinds of
// calls: signing, which touchmark-gpg has the appliance do if the key is the
// appliance's; listing secret keys, which it answers for those keys; and
// everything else, which is the real gpg's. What would change the signature in a
// way that the appliance does not offer is refused, never left out.
//
// Which calls tools really make stands in testdata/calls, recorded from them.
//
// Sources: gpg(1) of GnuPG 2.2, and the manual of libgpg-error for how arguments
// are taken.
package gpgcompat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
)

// Kind is who answers a call.
type Kind int

const (
	Pass Kind = iota // the real gpg
	Sign             // the appliance, if it has the key
	List             // the list of secret keys: those of the appliance's that are meant, else the real gpg
)

// Call is one command line of gpg.
type Call struct {
	Kind   Kind
	Status string // number of a file descriptor, or path of a file; "" for none
	Logger string // number of a file descriptor that messages go to; "" for none
	TTY    string // path of the terminal where a person is asked; "" if the caller names none
	NoTTY  bool   // no other terminal is to be written to

	// Signing.
	Format sigformat.Format
	Armor  bool
	Hash   message.Alg // "" when the caller leaves it open
	Users  []string    // how the key is named, "" for none
	Output string      // "-" for stdout, "" when it follows from File
	Yes    bool        // overwrite Output
	File   string      // "-" for stdin

	// Listing.
	Colons   bool
	Patterns []string

	special bool // names such as -&7 are file descriptors
}

// ErrRefused marks a signing call that cannot be answered as it is meant.
var ErrRefused = errors.New("touchmark-gpg cannot do that")

// Parse reads the arguments of gpg, without the program's name. An error is an
// ErrRefused: the call would sign, and something in it cannot be done; what is
// returned says where to tell that. What is wrong with a call that does not sign, the real gpg says itself.
func Parse(args []string) (*Call, error) {
	p := &parser{call: Call{}}
	rest := p.options(args)
	c := &p.call
	switch {
	case p.clear || p.detach || p.sign:
		c.Kind = Sign
		if err := p.signing(rest); err != nil {
			return c, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	case p.list && !p.other && len(p.wrong) == 0:
		c.Kind = List
		c.Patterns = rest
	}
	return c, nil
}

// signing settles a call that signs.
func (p *parser) signing(files []string) error {
	c := &p.call
	switch {
	case len(p.wrong) > 0:
		return p.wrong[0]
	case p.other || p.list:
		return errors.New("signing together with another command")
	case p.clear && p.detach:
		return errors.New("--clearsign together with --detach-sign")
	case !p.clear && !p.detach:
		return errors.New("a signature that holds the signed data (--sign alone): use --detach-sign or --clearsign")
	case len(files) > 1 && strings.HasPrefix(files[len(files)-1], "-"):
		return fmt.Errorf("%s behind a file is a file to gpg, too: options come first", files[len(files)-1])
	case len(files) > 1:
		return fmt.Errorf("one signature over %d files", len(files))
	case p.clear:
		c.Format = sigformat.OpenPGPCleartext
	case p.text:
		c.Format = sigformat.OpenPGPText
	default:
		c.Format = sigformat.OpenPGPBinary
	}
	if len(c.Users) == 0 && p.defaultKey != "" {
		c.Users = []string{p.defaultKey}
	}
	c.File = "-"
	if len(files) == 1 {
		c.File = files[0]
	}
	if c.Output == "" {
		c.Output = c.beside()
	}
	return p.noPassphrase()
}

// noPassphrase refuses a passphrase in front of the data, on one descriptor with
// it: gpg takes that line away, we would sign and, below a text, publish it.
func (p *parser) noPassphrase() error {
	from := p.call.FD(p.call.File)
	if p.call.File == "-" {
		from = 0
	}
	fd, err := strconv.ParseInt(p.passphraseFD, 0, 32)
	if p.passphraseFD == "" || err == nil && (from < 0 || fd != int64(from)) {
		return nil
	}
	return fmt.Errorf("--passphrase-fd %s, where the data comes too: there is no passphrase, leave it out", p.passphraseFD)
}

// beside is where gpg writes a signature when nobody says where.
func (c *Call) beside() string {
	switch {
	case c.File == "-" || c.FD(c.File) >= 0:
		return "-"
	case c.Armor || c.Format.Cleartext():
		return c.File + ".asc"
	}
	return c.File + ".sig"
}

// FD is the file descriptor that a file name stands for, -1 for none: "-" is
// not asked about here, "-&7" is 7 where --enable-special-filenames says so.
func (c *Call) FD(name string) int {
	digits, special := strings.CutPrefix(name, "-&")
	if !special || !c.special {
		return -1
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// hashes are gpg's names of hash algorithms.
func hashNamed(s string) (message.Alg, error) {
	switch strings.ToUpper(s) {
	case "SHA256", "SHA-256", "H8":
		return message.SHA256, nil
	case "SHA384", "SHA-384", "H9":
		return message.SHA384, nil
	case "SHA512", "SHA-512", "H10":
		return message.SHA512, nil
	}
	return "", fmt.Errorf("--digest-algo %s: use SHA256, SHA384 or SHA512", s)
}
