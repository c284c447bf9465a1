// Package qemu starts the board's image in QEMU's machine "virt", under TCG, and talks to its monitor.
package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Machine is a board: two processors, 256 MiB.
type Machine struct {
	Image   string   // folder of a build of the image
	Initrd  string   // its root; "": the build's
	Words   []string // more of the command line
	Card    string   // file that is the card
	Stick   string   // file that a stick is made of when it is plugged in; "": there is none
	TPM     string   // control socket of the software TPM
	Line    string   // tty that is the board's end of the cable
	Redir   string   // socket that an emulated token connects to
	Monitor string   // socket of the monitor
	More    []string // arguments of QEMU
}

// CommandLine is the kernel's: the build's and more words.
func (m Machine) CommandLine() (string, error) {
	line, err := os.ReadFile(filepath.Join(m.Image, "cmdline.txt"))
	return strings.Join(append([]string{strings.TrimSpace(string(line))}, m.Words...), " "), err
}

// Command is the program and its arguments. Its standard streams are the board's console.
func (m Machine) Command() ([]string, error) {
	line, err := m.CommandLine()
	if err != nil {
		return nil, err
	}
	root := m.Initrd
	if root == "" {
		root = filepath.Join(m.Image, "initrd.zst")
	}
	argv := append(Base(), "-m", "256", "-kernel", filepath.Join(m.Image, "Image"), "-initrd", root, "-append", line,
		"-blockdev", "driver=raw,node-name=card,file.driver=file,file.filename="+m.Card, "-device", "virtio-blk-pci,drive=card",
		"-chardev", "socket,id=tpm,path="+m.TPM, "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis-device,tpmdev=tpm",
		"-device", "qemu-xhci,id=usb", "-chardev", "serial,id=line,path="+m.Line, "-device", "usb-serial,id=line,chardev=line",
		"-chardev", "socket,id=redir,server=on,wait=off,path="+m.Redir, "-device", "usb-redir,chardev=redir",
		"-qmp", "unix:"+m.Monitor+",server=on,wait=off")
	if m.Stick != "" {
		argv = append(argv, "-blockdev", "driver=raw,node-name=stick,file.driver=file,file.locking=off,file.filename="+m.Stick)
	}
	return append(argv, m.More...), nil
}

// Base are the program and those arguments that any machine like this has.
func Base() []string {
	return []string{"qemu-system-aarch64", "-accel", "tcg", "-machine", "virt", "-cpu", "cortex-a72", "-smp", "2",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"}
}

// Monitor is QEMU's (docs/interop/qmp-spec.txt).
type Monitor struct {
	conn net.Conn
	in   *json.Decoder
}

// Dial connects to the monitor of a machine that was started, which need not listen yet. ended is closed when it has ended.
// Its calls fail when ctx's time is over.
func Dial(ctx context.Context, path string, ended <-chan struct{}) (*Monitor, error) {
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return greet(ctx, conn)
		}
		select {
		case <-ended:
			return nil, errors.New("QEMU has ended")
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(time.Millisecond):
		}
	}
}

func greet(ctx context.Context, conn net.Conn) (*Monitor, error) {
	end, _ := ctx.Deadline()
	m := &Monitor{conn: conn, in: json.NewDecoder(conn)}
	var greeting any
	err := errors.Join(conn.SetDeadline(end), m.in.Decode(&greeting))
	if err == nil {
		_, err = m.Do("qmp_capabilities", nil)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// Close gives the connection up.
func (m *Monitor) Close() error { return m.conn.Close() }

// Do gives a command and answers what it returns; a device that is to go (device_del) is gone then.
func (m *Monitor) Do(command string, arguments map[string]any) (json.RawMessage, error) {
	if arguments == nil {
		arguments = map[string]any{}
	}
	b, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return nil, err
	}
	if _, err = fmt.Fprintf(m.conn, "%s\n", b); err != nil {
		return nil, err
	}
	var returned json.RawMessage
	for gone := command != "device_del"; returned == nil || !gone; {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
			Event  string
			Data   struct{ Device string }
		}
		if err := m.in.Decode(&answer); err != nil {
			return nil, fmt.Errorf("QEMU: %s: %w", command, err)
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("QEMU: %s: %s", command, answer.Error.Desc)
		}
		if answer.Return != nil {
			returned = answer.Return
		}
		gone = gone || answer.Event == "DEVICE_DELETED" && answer.Data.Device == arguments["id"]
	}
	return returned, nil
}
