package gpgcompat

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// table is what gpg itself prints of its options.
//
//go:embed options.txt
var table string

// option is one of gpg's.
type option struct {
	name     string // of long options
	code     int    // the same for names that mean the same
	arg      bool   // takes an argument …
	optional bool   // … that may be missing
	command  bool
}

// The bits of an option's flags (libgpg-error, gpgrt_opt_t).
const (
	typeMask    = 7
	optionalBit = 8
	commandBit  = 128
)

var long, short = readTable()

func readTable() (map[string]option, map[byte]option) {
	long, short := map[string]option{}, map[byte]option{}
	for line := range strings.Lines(table) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if strings.HasPrefix(line, "#") || len(f) != 3 {
			continue
		}
		code, _ := strconv.Atoi(f[1])
		flags, _ := strconv.Atoi(f[2])
		o := option{f[0], code, flags&typeMask != 0, flags&optionalBit != 0, flags&commandBit != 0}
		long[o.name] = o
		if code > ' ' && code < 0x7f {
			short[byte(code)] = o
		}
	}
	// Options without a long name, and those that every program of GnuPG has.
	short['t'] = option{name: "textmode"}
	short['z'] = option{name: "compress-level", arg: true}
	short['h'] = option{name: "help", command: true}
	for i, name := range []string{"help", "version", "warranty", "dump-options", "dump-option-table"} {
		long[name] = option{name: name, code: -1 - i, command: true}
	}
	return long, short
}

// parser collects what the options say.
type parser struct {
	call                             Call
	sign, detach, clear, list, other bool // commands
	text                             bool
	defaultKey                       string
	passphraseFD                     string
	wrong                            []error // what keeps us from signing
}

// options reads options up to the first argument that is none, as gpg does, and
// returns the arguments behind them.
func (p *parser) options(args []string) []string {
	for len(args) > 0 {
		a := args[0]
		switch {
		case a == "--":
			return args[1:]
		case strings.HasPrefix(a, "--"):
			args = p.long(a[2:], args[1:])
		case len(a) > 1 && a[0] == '-' && a[1] != '&':
			args = p.short(a[1:], args[1:])
		default:
			return args
		}
	}
	return nil
}

// long takes --name, --name=value or --name value, and answers what is left.
func (p *parser) long(a string, rest []string) []string {
	name, value, given := strings.Cut(a, "=")
	o, err := named(name)
	if err != nil {
		p.refuse("%v", err)
		return rest
	}
	if o.arg && !given {
		if o.optional && (len(rest) == 0 || strings.HasPrefix(rest[0], "-")) {
			return rest
		}
		value, rest = p.next("--"+o.name, rest)
	}
	p.take(o, value)
	return rest
}

// named finds an option by its name or, as gpg does, by the only one that begins
// like this.
func named(name string) (option, error) {
	if o, ok := long[name]; ok {
		return o, nil
	}
	var found []option
	for n, o := range long {
		alias := func(f option) bool { return f.code == o.code }
		if name != "" && strings.HasPrefix(n, name) && !slices.ContainsFunc(found, alias) {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return option{}, fmt.Errorf("the option --%s, which GnuPG 2.2 does not have", name)
	case 1:
		return found[0], nil
	}
	return option{}, fmt.Errorf("the option --%s, which may mean several", name)
}

// short takes a cluster such as "sbo FILE" or "uKEY", without its dash.
func (p *parser) short(cluster string, rest []string) []string {
	for i := range len(cluster) {
		o, ok := short[cluster[i]]
		switch {
		case !ok:
			p.refuse("the option -%s, which GnuPG 2.2 does not have", cluster[i:i+1])
		case !o.arg:
			p.take(o, "")
		case i+1 < len(cluster):
			p.take(o, cluster[i+1:])
			return rest
		default:
			var value string
			value, rest = p.next("-"+cluster[i:i+1], rest)
			p.take(o, value)
		}
	}
	return rest
}

func (p *parser) next(name string, rest []string) (string, []string) {
	if len(rest) == 0 {
		p.refuse("%s without its argument", name)
		return "", nil
	}
	return rest[0], rest[1:]
}

func (p *parser) refuse(format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Errorf(format, args...))
}

// take gives one option its meaning. What is not here says how gpg works (its
// agent, its keyrings, its messages) and means nothing to the appliance.
func (p *parser) take(o option, value string) {
	c := &p.call
	switch o.name {
	case "sign":
		p.sign = true
	case "detach-sign":
		p.detach = true
	case "clearsign", "clear-sign":
		p.clear = true
	case "list-secret-keys":
		p.list = true
	case "local-user", "sign-with":
		c.Users = append(c.Users, value)
	case "default-key":
		p.defaultKey = value
	case "output":
		c.Output = value
	case "yes":
		c.Yes = true
	case "no":
		c.Yes = false
	case "armor", "armour":
		c.Armor = true
	case "no-armor", "no-armour":
		c.Armor = false
	case "textmode":
		p.text = true
	case "no-textmode":
		p.text = false
	case "with-colons":
		c.Colons = true
	case "enable-special-filenames":
		c.special = true
	case "passphrase-fd":
		p.passphraseFD = value
	case "status-fd", "status-file":
		c.Status = value
	case "logger-fd":
		c.Logger = value
	case "ttyname":
		c.TTY = value
	case "no-tty":
		c.NoTTY = true
	case "digest-algo":
		p.digest(value)
	default:
		p.rest(o)
	}
}

func (p *parser) digest(value string) {
	alg, err := hashNamed(value)
	if err != nil {
		p.refuse("%v", err)
		return
	}
	p.call.Hash = alg
}

// changing are the options that put something into a signature, or change what
// it is over, or have gpg do nothing: the appliance makes none of that, and a
// signature without it would not be what the caller asked for.
var changing = map[string]bool{
	"set-notation": true, "sig-notation": true, "set-policy-url": true, "sig-policy-url": true, "sig-keyserver-url": true,
	"default-sig-expire": true, "ask-sig-expire": true, "faked-system-time": true, "include-key-block": true,
	"not-dash-escaped": true, "multifile": true, "dry-run": true, "mimemode": true,
}

// rest takes commands and options that are not about how to sign.
func (p *parser) rest(o option) {
	switch {
	case o.command:
		p.other = true
	case changing[o.name]:
		p.refuse("the option --%s: the appliance makes the signature, and does not offer that", o.name)
	}
}
