package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/hostd/api"
)

// voice is how a caller and a person are told. git, repo-add, makepkg and gpgme swallow gpg's standard error: a person would
// see neither that the appliance waits for him nor why nothing was signed. gpg itself has a terminal for what it has to ask:
// pinentry takes the one of --ttyname or $GPG_TTY, gpg's own questions go to /dev/tty unless --no-tty says not to. There it
// is told, too, if standard error is no terminal.
type voice struct {
	name     string
	errs     io.Writer
	log      string // number of gpg's --logger-fd, "" for none
	terminal string // path, "" for none
}

// hear learns from a call where else to speak.
func (v *voice) hear(c *gpgcompat.Call) {
	v.log = c.Logger
	switch gpgTTY := os.Getenv("GPG_TTY"); {
	case c.TTY != "":
		v.terminal = c.TTY
	case gpgTTY != "":
		v.terminal = gpgTTY
	case !c.NoTTY:
		v.terminal = "/dev/tty"
	}
}

// fail says to everybody why nothing was signed.
func (v *voice) fail(format string, args ...any) {
	text := api.Printable(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
	line := v.name + ": " + text + "\n"
	fmt.Fprint(v.errs, line)
	if fd, err := strconv.Atoi(v.log); err == nil && fd != 2 && handedOver(v.log) {
		_, _ = unix.Write(fd, []byte(line)) // as gpg does, whose --logger-fd is not its caller's word either
	}
	if !isTerminal(v.errs) {
		v.show(text)
	}
}

// handedOver reports whether a descriptor is open since this program was started, and so the caller's: what the program
// opens itself, such as the daemon's socket, is marked to be closed where another program begins.
func handedOver(number string) bool {
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// tell keeps a person informed; programs hear nothing but the end.
func (v *voice) tell(text string) {
	if isTerminal(v.errs) {
		fmt.Fprintf(v.errs, shown, text)
		return
	}
	v.show(text)
}

// show writes to the terminal, if it is one, and waits for nothing: it may be held by Ctrl-S, or be another's by now.
func (v *voice) show(text string) {
	if v.terminal == "" {
		return
	}
	fd, err := unix.Open(v.terminal, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }() // nothing can be lost that could not be lost before
	if !terminalFD(fd) {
		return
	}
	signal.Ignore(syscall.SIGTTOU) // stops who writes from the background, where the terminal is set so (stty tostop)
	_, _ = unix.Write(fd, fmt.Appendf(nil, shown, text))
}

// shown says whose words these are among those of git or repo-add.
const shown = "touchmark-gpg: %s\n"

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && terminalFD(int(f.Fd()))
}

func terminalFD(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}
