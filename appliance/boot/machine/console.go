package machine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sayLimit is what a terminal has to take some lines: at 9600 baud a thousand characters take one second.
const sayLimit = 2 * time.Second

// OpenConsole opens the operator's terminal: the one that is named, or, for "", the
// kernel's own. It is opened for each use: the end of a child, whose terminal it was,
// hangs it up. lines is an operator who is a program: nothing that is typed is
// repeated, a PIN neither. Opening waits for nothing, and nobody can stop the terminal
// by XOFF (Ctrl-S): who writes to it would wait for him.
func OpenConsole(path string, lines bool) (*os.File, error) {
	if path == "" {
		path = kernelConsole()
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = prepare(fd, lines); err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the operator's terminal %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func prepare(fd int, lines bool) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IXON // also lets a terminal go on that was stopped
	if lines {
		t.Lflag &^= unix.ECHO | unix.ISIG
		t.Oflag &^= unix.OPOST
	}
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// kernelConsole is the terminal behind /dev/console, which itself cannot be a
// process's terminal: the last one in the list.
func kernelConsole() string {
	b, err := os.ReadFile("/sys/class/tty/console/active")
	names := strings.Fields(string(b))
	if err != nil || len(names) == 0 {
		return "/dev/console"
	}
	return "/dev/" + names[len(names)-1]
}

// Say writes to a terminal that OpenConsole opened, and closes it. What it does not take
// in time is thrown away.
func Say(console *os.File, text string) error {
	err := console.SetWriteDeadline(time.Now().Add(sayLimit))
	if err == nil {
		_, err = fmt.Fprintf(console, "\r\nTouchmark: %s\r\n", strings.ReplaceAll(text, "\n", "\r\n           "))
	}
	go func() { _ = console.Close() }() // which waits until the line has sent all, half a minute at most
	return err
}
