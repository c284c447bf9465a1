package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Nodes gives device nodes to the users of the processes that need them.
type Nodes struct {
	Sys, Dev string
	Core     []string // nodes of the core's
	Link     []string // nodes of the link's
	Give     func(path string, user int) error

	given map[string]uint64 // inode of each node that was given away
}

// BoardNodes are those of a board: the TPM, tokens, buttons, the card if the core
// replaces its images, and the line.
func BoardNodes(line, buttons, card string) *Nodes {
	n := &Nodes{Sys: "/sys", Dev: "/dev", Core: []string{TPM}, Link: []string{line}, Give: func(path string, user int) error { return os.Lchown(path, user, user) }}
	if chip, _, ok := strings.Cut(buttons, ":"); ok {
		n.Core = append(n.Core, chip)
	}
	if card != "" {
		n.Core = append(n.Core, card)
	}
	return n
}

// maxDevices bounds what is looked at on USB: a board has one or two ports.
const maxDevices = 64

// Look gives away what has appeared since it was last called.
func (n *Nodes) Look() error {
	if n.given == nil {
		n.given = map[string]uint64{}
	}
	var errs []error
	for _, path := range append(n.tokens(), n.Core...) {
		errs = append(errs, n.give(path, CoreID))
	}
	for _, pattern := range append([]string{filepath.Join(n.Dev, "ttyUSB*"), filepath.Join(n.Dev, "ttyACM*")}, n.Link...) {
		paths, err := filepath.Glob(pattern)
		errs = append(errs, err)
		for _, path := range paths {
			errs = append(errs, n.give(path, LinkID))
		}
	}
	return errors.Join(errs...)
}

// give gives a node away, once for each device that has it.
func (n *Nodes) give(path string, user int) error {
	info, err := os.Lstat(path)
	if err != nil {
		delete(n.given, path)
		return nil // it is not there, or went just now
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || n.given[path] == st.Ino {
		return nil
	}
	if err := n.Give(path, user); err != nil {
		return err
	}
	n.given[path] = st.Ino // a node that comes again has another
	return nil
}

// smartcard is the class of interfaces that a token has (USB CCID, bInterfaceClass).
const smartcard = "0b"

// tokens are the nodes of USB devices with a reader's interface.
func (n *Nodes) tokens() (nodes []string) {
	interfaces, err := os.ReadDir(filepath.Join(n.Sys, "bus/usb/devices"))
	if err != nil {
		return nil
	}
	for _, e := range interfaces[:min(len(interfaces), maxDevices)] {
		device, _, isInterface := strings.Cut(e.Name(), ":")
		if !isInterface || n.attribute(e.Name(), "bInterfaceClass") != smartcard {
			continue
		}
		bus, err1 := strconv.Atoi(n.attribute(device, "busnum"))
		number, err2 := strconv.Atoi(n.attribute(device, "devnum"))
		if err1 == nil && err2 == nil {
			nodes = append(nodes, filepath.Join(n.Dev, fmt.Sprintf("bus/usb/%03d/%03d", bus, number)))
		}
	}
	return nodes
}

func (n *Nodes) attribute(device, name string) string {
	b, err := os.ReadFile(filepath.Join(n.Sys, "bus/usb/devices", device, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
