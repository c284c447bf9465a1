// Touchmark-gpg stands in for gpg where repository tools call it: it has the
// signing appliance make the signatures that are asked of the appliance's keys,
// lists those keys, and passes every other call on to the real gpg.
//
// What it is called decides what it is: gpgconf tells gpgme where gpg is,
// touchmark-sign-release is a hook of reprepro, any other name is gpg.
// docs/host-guide.md, "Tools that call gpg", says how tools are pointed at it.
//
// Whatever fails, it ends with code 2, as gpg does, says why in a line on
// standard error, and has written no signature.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/gpgcompat/reply"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
)

func main() {
	p := &program{argv0: os.Args[0], out: os.Stdout, voice: voice{name: filepath.Base(os.Args[0]), errs: os.Stderr}}
	os.Exit(p.run(os.Args[1:]))
}

// exitFailed is gpg's exit code for whatever did not work.
const exitFailed = 2

type program struct {
	argv0 string
	out   io.Writer
	voice voice
}

func (p *program) run(args []string) int {
	var err error
	switch filepath.Base(p.argv0) {
	case "gpgconf":
		err = p.gpgconf(args)
	case "touchmark-sign-release":
		err = p.release(args)
	default:
		err = p.gpg(args)
	}
	if err != nil {
		p.voice.fail("%v", err)
		return exitFailed
	}
	return 0
}

// gpg answers a call of gpg.
func (p *program) gpg(args []string) error {
	c, err := gpgcompat.Parse(args)
	p.voice.hear(c)
	switch {
	case err != nil:
		return err
	case c.Kind == gpgcompat.Pass:
		return p.pass("gpg", args)
	}
	if fd := p.voice.log; fd != "" && !handedOver(fd) {
		p.voice.log = ""
		return fmt.Errorf("--logger-fd %s is no open descriptor of the caller's", fd)
	}
	if c.Kind == gpgcompat.Sign {
		return p.sign(c, args)
	}
	return p.list(c, args)
}

// list prints the appliance's keys that are meant. If others may be meant, the
// real gpg goes on. Where no key is named and ours are listed, it may have none and need not even work: repo-add asks so
// whether anybody can sign at all, on hosts that have no other key.
func (p *program) list(c *gpgcompat.Call, args []string) error {
	_, ring, err := loadKeys()
	if err != nil {
		return err
	}
	found := ring
	if len(c.Patterns) > 0 {
		found = nil
		for _, spec := range c.Patterns {
			m := ring.Match(spec)
			if len(m) == 0 {
				return p.pass("gpg", args)
			}
			found = append(found, m...)
		}
	}
	if _, err := fmt.Fprint(p.out, found.Listing(c.Colons, time.Now())); err != nil || len(c.Patterns) > 0 {
		return err
	}
	if len(found) == 0 {
		return p.pass("gpg", args)
	}
	p.beside(args)
	return nil
}

// loadKeys reads what this host pins.
func loadKeys() (*verify.Trust, reply.Ring, error) {
	path := env("TOUCHMARK_TRUST", "/etc/touchmark/trust")
	text, err := api.ReadTrust(path)
	if err != nil {
		return nil, nil, fmt.Errorf("trust: %w (name it with $TOUCHMARK_TRUST)", err)
	}
	t, err := verify.ParseTrust(text)
	if err != nil {
		return nil, nil, fmt.Errorf("trust %s: %w", path, err)
	}
	return t, reply.NewRing(t.Keys), nil
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
