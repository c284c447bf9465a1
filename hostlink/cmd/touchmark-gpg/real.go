package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"touchmark/hostlink/gpgcompat/reply"
)

// passed is in the environment of what a call was passed on to: if that is this
// program again, nobody would ever end it.
const passed = "TOUCHMARK_GPG_PASSED"

// pass becomes the real program. It returns on failure only.
func (p *program) pass(name string, args []string) error {
	path, err := p.real(name)
	if err != nil {
		return err
	}
	err = syscall.Exec(path, append([]string{path}, args...), append(os.Environ(), passed+"=1"))
	return fmt.Errorf("cannot run %s: %w", path, err)
}

// beside lets the real gpg add to what was answered already. What it says on standard error is all that tells of a failure.
func (p *program) beside(args []string) {
	path, err := p.real("gpg")
	if err != nil {
		return
	}
	cmd := exec.Command(path, args...) // descriptors that the caller handed over stay open in it, under their numbers
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(os.Environ(), passed+"=1"), os.Stdin, p.out, p.voice.errs
	_ = cmd.Run()
}

// real finds the program that gpg or gpgconf is without us: the first on the PATH
// that is neither this program nor what it was called as.
func (p *program) real(name string) (string, error) {
	if os.Getenv(passed) != "" {
		return "", fmt.Errorf("the %s on the PATH is touchmark-gpg again: put the real one's directory into it", name)
	}
	own := p.own()
	for _, dir := range filepath.SplitList(os.Getenv("PATH") + string(filepath.ListSeparator) + "/usr/bin") {
		path, err := exec.LookPath(filepath.Join(dir, name))
		if err != nil || !filepath.IsAbs(path) {
			continue
		}
		st, err := os.Stat(path)
		if err == nil && !sameAsAny(st, own) {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no real %s on the PATH: install GnuPG", name)
}

// own is this program, by the file that runs and by what it was called as.
func (p *program) own() []os.FileInfo {
	var own []os.FileInfo
	called, _ := exec.LookPath(p.argv0)
	for _, path := range []string{"/proc/self/exe", called} {
		if st, err := os.Stat(path); err == nil {
			own = append(own, st)
		}
	}
	return own
}

func sameAsAny(st os.FileInfo, others []os.FileInfo) bool {
	for _, o := range others {
		if os.SameFile(st, o) {
			return true
		}
	}
	return false
}

// gpgconf is asked by gpgme where gpg is: beside this gpgconf.
func (p *program) gpgconf(args []string) error {
	if len(args) != 1 || args[0] != "--list-components" {
		return p.pass("gpgconf", args)
	}
	path, err := p.real("gpgconf")
	if err != nil {
		return err
	}
	called, err := exec.LookPath(p.argv0)
	if err == nil {
		called, err = filepath.Abs(called)
	}
	if err != nil {
		return err
	}
	gpg := filepath.Join(filepath.Dir(called), "gpg")
	if _, err := os.Stat(gpg); err != nil {
		return fmt.Errorf("%s is missing: make it a link to touchmark-gpg", gpg)
	}
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), passed+"=1"), p.voice.errs
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = fmt.Fprint(p.out, reply.Gpgconf(string(text), gpg))
	return err
}
