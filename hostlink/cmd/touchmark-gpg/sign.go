package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/gpgcompat/reply"
	"touchmark/tpm/ledgerstore/durable"
)

// sign has the appliance sign, if it is its key that the caller means.
func (p *program) sign(c *gpgcompat.Call, args []string) error {
	trust, ring, err := loadKeys()
	if err != nil {
		return err
	}
	chosen, err := ring.Choose(c.Users, time.Now())
	switch {
	case err != nil:
		return err
	case chosen == nil:
		return p.pass("gpg", args)
	}
	status, err := openStatus(c.Status)
	if err != nil {
		return err
	}
	j := &job{p: p, trust: trust, ring: chosen, calls: []*gpgcompat.Call{c}}
	lines, err := p.perform(j)
	if err != nil {
		lines = reply.NotSigned(failure(err))
	}
	if told := status(lines); told != nil && err == nil {
		return errors.Join(fmt.Errorf("the status cannot be written, so no file with the signature is left: %w", told), remove(j.outs))
	}
	return err
}

// perform does a job and answers with the status lines of its success.
func (p *program) perform(j *job) (lines string, err error) {
	if j.wait, err = timeout(); err != nil {
		return "", err
	}
	j.late = grace
	opened := j.within(min(j.wait, readers), "nobody reads what the signature would go to")
	defer opened()
	for _, c := range j.calls {
		if err := format(c); err != nil {
			return "", err
		}
		o, err := newOutput(c)
		if err != nil {
			return "", err
		}
		j.outs = append(j.outs, o)
	}
	opened()
	facts, err := j.do()
	if err != nil {
		return "", err
	}
	for i, f := range facts {
		lines += reply.Signed(j.certificateOf(f), j.calls[i].Format, f.Digest.Alg, f.Created)
	}
	return lines, nil
}

// format has in-toto's metadata signed as what it is, so that the operator sees
// its meaning, if $TOUCHMARK_FORMAT says so. A caller of gpg has no way to.
func format(c *gpgcompat.Call) error {
	name := os.Getenv("TOUCHMARK_FORMAT")
	switch {
	case name == "" || name == c.Format.Name:
		return nil
	case name != sigformat.InTotoGPG.Name:
		return fmt.Errorf("$TOUCHMARK_FORMAT is %q: only %s can be asked for in this way", name, sigformat.InTotoGPG.Name)
	case c.Format.Text():
		return fmt.Errorf("$TOUCHMARK_FORMAT is %q, which is no signature over text", name)
	}
	c.Format = sigformat.InTotoGPG
	return nil
}

// openStatus finds where gpg is to write status lines: a file descriptor, or a
// file by its path. What it returns writes them.
func openStatus(name string) (write func(lines string) error, err error) {
	if name == "" {
		return func(string) error { return nil }, nil
	}
	fd, err := strconv.ParseUint(name, 10, 16)
	if err != nil {
		return func(lines string) error { return durable.Replace(name, []byte(lines), 0o600) }, nil
	}
	if !handedOver(name) {
		return nil, fmt.Errorf("--status-fd %s is no open descriptor of the caller's", name)
	}
	f := os.NewFile(uintptr(fd), "status")
	return func(lines string) error { _, err := io.WriteString(f, lines); return err }, nil
}

// release is the hook that reprepro calls: what to sign, and where InRelease and
// Release.gpg go, "" for neither. Both are one request: the operator arms it once.
func (p *program) release(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%w: reprepro calls it with Release, InRelease and Release.gpg", gpgcompat.ErrRefused)
	}
	p.voice.hear(&gpgcompat.Call{})
	trust, ring, err := loadKeys()
	if err != nil {
		return err
	}
	var users []string
	if u := os.Getenv("TOUCHMARK_KEY"); u != "" {
		users = []string{u}
	}
	chosen, err := ring.Choose(users, time.Now())
	switch {
	case err != nil:
		return err
	case chosen == nil:
		return fmt.Errorf("$TOUCHMARK_KEY is %q, which is no key of the appliance", users[0])
	}
	j := &job{p: p, trust: trust, ring: chosen}
	for i, format := range []sigformat.Format{sigformat.OpenPGPCleartext, sigformat.OpenPGPBinary} {
		if out := args[1+i]; out != "" {
			j.calls = append(j.calls, &gpgcompat.Call{Kind: gpgcompat.Sign, Format: format, Armor: true, File: args[0], Output: out, Yes: true})
		}
	}
	if len(j.calls) == 0 {
		return nil
	}
	_, err = p.perform(j)
	return err
}
