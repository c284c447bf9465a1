//go:build arm64machine

package gpio

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"touchmark/tests/serial/initrd"
)

// patience bounds every wait; the machine starts in some seconds.
const patience = 5 * time.Minute

// Lines of the chip, as the guest has them, and its register GPIODATA with all
// bits let through (Arm DDI 0190, 3.3.1), where QEMU's machine "virt" has it.
const (
	armLine, denyLine = 0, 1
	green, red        = 1 << 4, 1 << 5
	dataRegister      = "readb 0x090303fc"
)

// TestButtonsAndLampsOnAChip: presses of both buttons reach the board, each lights
// its lamp, the lines are nobody else's meanwhile, and free again afterwards.
func TestButtonsAndLampsOnAChip(t *testing.T) {
	m := boot(t)
	if got := m.hear("busy"); got != "true" {
		t.Errorf("the lines are taken: %s", got)
	}
	m.set(armLine, 1)
	m.set(denyLine, 1)
	for _, b := range []struct {
		line int
		name string
		lamp uint64
	}{{armLine, "arm", green}, {denyLine, "deny", red}, {denyLine, "deny", red}, {armLine, "arm", green}} {
		m.wait()
		m.set(b.line, 0)
		m.wait()
		m.set(b.line, 1)
		if got := m.hear("pressed"); got != b.name+" true" {
			t.Fatalf("%s was pressed, the board hears %q", b.name, got)
		}
		if lit := m.data() & (green | red); lit != b.lamp {
			t.Errorf("%s: lit is %#x, want %#x", b.name, lit, b.lamp)
		}
	}
	if got := m.hear("ended"); got != "<nil>" {
		t.Error(got)
	}
}

// machine is the virtual machine: what it says, and its devices.
type machine struct {
	t       *testing.T
	console io.Writer
	lines   *bufio.Scanner // of the console
	qtest   net.Conn
	reply   *bufio.Reader
	chip    string // QEMU's path of the PL061
}

func boot(t *testing.T) *machine {
	kernel := os.Getenv("TOUCHMARK_ARM64_KERNEL")
	dir, err := os.MkdirTemp("", "tmg-") // sockets need a short path
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	guest := filepath.Join(dir, "guest")
	build := exec.Command("go", "build", "-o", guest, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var image initrd.Image
	must(t, image.AddFile("guest", guest))
	must(t, image.Write(filepath.Join(dir, "initrd")))
	m := &machine{t: t}
	m.start(exec.Command("qemu-system-aarch64",
		"-accel", "tcg", "-machine", "virt", "-cpu", "cortex-a57", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", kernel, "-initrd", filepath.Join(dir, "initrd"), "-append", "console=ttyAMA0 quiet loglevel=1 panic=-1 rdinit=/guest",
		"-qtest", "unix:"+filepath.Join(dir, "qtest")+",server=on,wait=off", "-qtest-log", "none", "-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off"))
	m.qtest = m.dial(filepath.Join(dir, "qtest"))
	m.reply = bufio.NewReader(m.qtest)
	m.find(m.dial(filepath.Join(dir, "qmp")))
	return m
}

// start runs QEMU until the test ends.
func (m *machine) start(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	must(m.t, err)
	m.console, err = cmd.StdinPipe()
	must(m.t, err)
	if err := cmd.Start(); err != nil {
		m.t.Fatalf("%v: run make arm64", err)
	}
	limit := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	m.t.Cleanup(func() {
		limit.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	m.lines = bufio.NewScanner(out)
}

// dial waits for QEMU to listen.
func (m *machine) dial(path string) net.Conn {
	m.t.Helper()
	for end := time.Now().Add(patience); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			m.t.Cleanup(func() { _ = c.Close() })
			must(m.t, c.SetDeadline(end))
			return c
		}
		if time.Now().After(end) {
			m.t.Fatal(err)
		}
	}
}

// find asks QEMU for the path of its chip (qapi/qom.json).
func (m *machine) find(qmp net.Conn) {
	m.t.Helper()
	in := json.NewDecoder(qmp)
	var greeting, ok any
	must(m.t, in.Decode(&greeting))
	_, err := fmt.Fprint(qmp, `{"execute":"qmp_capabilities"}`, "\n", `{"execute":"qom-list","arguments":{"path":"/machine/unattached"}}`, "\n")
	must(m.t, err)
	must(m.t, in.Decode(&ok))
	var list struct {
		Return []struct{ Name, Type string }
	}
	must(m.t, in.Decode(&list))
	for _, o := range list.Return {
		if o.Type == "child<pl061>" {
			m.chip = "/machine/unattached/" + o.Name
			return
		}
	}
	m.t.Fatalf("no PL061 among %+v", list.Return)
}

// ask gives QEMU one command of its test protocol (docs/devel/qtest.rst).
func (m *machine) ask(format string, a ...any) string {
	m.t.Helper()
	_, err := fmt.Fprintf(m.qtest, format+"\n", a...)
	must(m.t, err)
	line, err := m.reply.ReadString('\n')
	must(m.t, err)
	answer, ok := strings.CutPrefix(strings.TrimSpace(line), "OK")
	if !ok {
		m.t.Fatalf("%s: QEMU says %q", fmt.Sprintf(format, a...), line)
	}
	return strings.TrimSpace(answer)
}

func (m *machine) set(line, level int) {
	m.t.Helper()
	m.ask("set_irq_in %s unnamed-gpio-in %d %d", m.chip, line, level)
}

func (m *machine) data() (bits uint64) {
	m.t.Helper()
	_, err := fmt.Sscanf(m.ask(dataRegister), "0x%x", &bits)
	must(m.t, err)
	return bits
}

// hear waits for what the guest says about a word.
func (m *machine) hear(word string) string {
	m.t.Helper()
	for m.lines.Scan() {
		if said, ok := strings.CutPrefix(strings.TrimSpace(m.lines.Text()), "gpio "+word); ok {
			return strings.TrimSpace(said)
		}
		if strings.HasPrefix(m.lines.Text(), "gpio ended") {
			m.t.Fatal(m.lines.Text())
		}
	}
	m.t.Fatalf("the machine ended before it said %q: %v", word, m.lines.Err())
	return ""
}

// wait lets time pass in the machine: more than a contact may chatter.
func (m *machine) wait() {
	m.t.Helper()
	_, err := fmt.Fprintln(m.console, "wait")
	must(m.t, err)
	m.hear("waited")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
