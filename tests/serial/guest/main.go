// Command guest is the first process of a virtual machine that has real serial hardware drivers: a 16550 UART, a USB
// adapter, and a USB gadget port joined to a USB host port. It runs ends of the link on them as the test outside says.
//
// # Format
//
// Lines over the device in TOUCHMARK_CONTROL (set on the kernel's command line). In: a command and its arguments. Out:
// "= text" or "! error" answers a command; "* name text" is something that happened to the courier of that name.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"touchmark/hostlink/serialport"
)

func main() {
	err := start()
	fmt.Fprintln(os.Stderr, "guest:", err)
	powerOff()
}

func start() error {
	if err := mountAll(); err != nil {
		return err
	}
	port, err := serialport.Open(os.Getenv("TOUCHMARK_CONTROL"), serialport.DefaultBaud)
	if err != nil {
		return err
	}
	g := &guest{out: port, couriers: map[string]*running{}}
	g.say("= ready")
	lines := bufio.NewScanner(port)
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 0 {
			g.obey(words[0], words[1:])
		}
	}
	return lines.Err()
}

// guest is what runs in the machine.
type guest struct {
	mu  sync.Mutex // guards out
	out io.Writer

	couriers map[string]*running // by name; used by the control loop alone
	held     []io.Closer
}

func (g *guest) say(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	fmt.Fprintln(g.out, line)
}

// commands by name, with the number of their arguments.
var commands = map[string]struct {
	args int
	do   func(*guest, []string) (string, error)
}{
	"load":    {1, func(_ *guest, a []string) (string, error) { return "", loadModule(a[0]) }},
	"gadget":  {0, func(*guest, []string) (string, error) { return "", makeGadget() }},
	"plug":    {0, func(*guest, []string) (string, error) { return "", bindGadget(dummyUDC) }},
	"unplug":  {0, func(*guest, []string) (string, error) { return "", bindGadget("") }},
	"await":   {1, func(_ *guest, a []string) (string, error) { return "", await(a[0]) }},
	"hold":    {1, (*guest).hold},
	"release": {0, (*guest).release},
	"rates":   {1, func(_ *guest, a []string) (string, error) { return rates(a[0]) }},
	"stuck":   {1, func(_ *guest, a []string) (string, error) { return stuck(a[0]) }},
	"host":    {3, (*guest).host},
	"link":    {3, (*guest).link},
	"stop":    {1, (*guest).stop},
}

func (g *guest) obey(name string, args []string) {
	c, ok := commands[name]
	if !ok || len(args) != c.args {
		g.say("! no command %s with %d arguments", name, len(args))
		return
	}
	text, err := c.do(g, args)
	if err != nil {
		g.say("! %s: %v", name, err)
		return
	}
	g.say("= %s", text)
}

// hold keeps a tty open, so that its name is taken when the device comes back.
func (g *guest) hold(args []string) (string, error) {
	f, err := os.OpenFile(args[0], os.O_RDWR|nonblock, 0)
	if err == nil {
		g.held = append(g.held, f)
	}
	return "", err
}

func (g *guest) release([]string) (string, error) {
	for _, f := range g.held {
		f.Close()
	}
	g.held = nil
	return "", nil
}

// stop ends a courier in good order and answers when it has.
func (g *guest) stop(args []string) (string, error) {
	r, ok := g.couriers[args[0]]
	if !ok {
		return "", fmt.Errorf("no courier %s", args[0])
	}
	delete(g.couriers, args[0])
	return "", r.stop()
}

// running is a courier and its end of the link.
type running struct {
	cancel context.CancelFunc
	done   chan error
}

func (r *running) stop() error {
	r.cancel()
	return <-r.done
}
