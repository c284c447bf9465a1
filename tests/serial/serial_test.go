// Package serial puts the link on real serial hardware drivers: those of Debian's kernel in a virtual machine, on a
// 16550 UART, an FTDI adapter and a CDC-ACM gadget port, pulled and plugged while messages pass. make setup fetches the
// kernel.
package serial

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"touchmark/hostlink/serialport"
	"touchmark/tests/serial/courier"
)

// TestDevices is one machine for all, as booting takes longest.
func TestDevices(t *testing.T) {
	m := boot(t)
	t.Run("UART", func(t *testing.T) { testUART(m.in(t)) })
	t.Run("adapter", func(t *testing.T) { testAdapter(m.in(t)) })
	t.Run("gadget", func(t *testing.T) { testGadget(m.in(t)) })
}

// in is the machine as a subtest sees it.
func (m *machine) in(t *testing.T) *machine {
	sub := *m
	sub.t = t
	return &sub
}

// outside runs an end of the link on one of QEMU's ptys, and has its news told like those of the guest's couriers.
func (m *machine) outside(name string, cfg serialport.EndpointConfig, count uint32) (stop func()) {
	end := serialport.Start(context.Background(), cfg)
	result := make(chan error, 1)
	go func() {
		err := courier.Run(context.Background(), end, count, func(n courier.News) {
			if n.Done {
				m.events <- name + " done"
			}
		})
		if err != nil {
			m.events <- fmt.Sprintf("%s failed: %v", name, err)
		}
		for range end.Events() {
		}
		result <- err
	}()
	return func() {
		m.t.Helper()
		go end.Close()
		if err := <-result; err != nil {
			m.t.Errorf("%s: %v", name, err)
		}
	}
}

// testUART: touchmark-link on a 16550 in the machine, a host's end on QEMU's pty outside.
func testUART(m *machine) {
	m.rates(guestUART, "1200 9600 31250 115200 !230400 !250000 !921600 !1234567 !3000000 !4000000")
	stop := m.outside("host", serialport.EndpointConfig{Path: m.uart, Initiator: true}, 20)
	m.do("link", "board", guestUART, "20")
	m.finish("host", "board")
	stop()
	m.do("stop", "board")
	m.stuck(guestStuck)
}

// manyMessages each way are still under way when the device is pulled for the third time, even where the machine's
// console is slow to obey.
const manyMessages = 300

var many = strconv.Itoa(manyMessages)

// testAdapter: a host's end in the machine on a USB adapter that it finds by its id, a board's end outside. The adapter is pulled three times, and comes back under the same name, under another, and under the first again.
func testAdapter(m *machine) {
	m.do("host", "host", "auto:0403:6001", many)
	m.until("host", "unavailable auto:0403:6001: found no serial device on USB (looked for 1d6b:0104 \"Touchmark\", 0403:6001)")
	stop := m.outside("board", serialport.EndpointConfig{Path: "adapter", Open: m.adapter.Open}, manyMessages)
	m.until("host", "opened /dev/ttyUSB0")
	m.replugged("/dev/ttyUSB", m.adapter.unplug, m.adapter.plug)
	m.finish("host", "board")
	stop()
	m.do("stop", "host")
	if _, err := m.adapter.Open("adapter", 0); err != nil { // plugged in again
		m.t.Fatal(err)
	}
	m.do("await", "/dev/ttyUSB0")
	m.rates("/dev/ttyUSB0", "1200 9600 31250 115200 230400 250000 921600 1234567 3000000 !4000000")
}

// testGadget: both ends in the machine, touchmark-link on the board's gadget port ttyGS0, a host's end on the CDC-ACM
// device that the port is to its USB host, found by what a Touchmark board says of itself although another USB tty is there.
func testGadget(m *machine) {
	m.do("gadget")
	m.do("host", "host", "auto", many)
	m.until("host", "unavailable auto: no serial device on USB is known to lead to the appliance (looked for 1d6b:0104 \"Touchmark\"): found /dev/ttyUSB0 (0403:6001 ")
	m.do("link", "board", "/dev/ttyGS0", many)
	m.do("plug")
	m.until("host", "opened /dev/ttyACM0")
	m.replugged("/dev/ttyACM", func() { m.do("unplug") }, func() { m.do("plug") })
	m.finish("host", "board")
	m.do("stop", "host")
	m.do("stop", "board")
	m.rates("/dev/ttyACM0", "1200 9600 31250 115200 230400 250000 921600 1234567 3000000 4000000")
	m.stuck("/dev/ttyACM0")
	m.stuck("/dev/ttyGS0")
}

// replugged pulls the device of the guest's courier "host" while messages pass, and expects it back under the name it
// had, under the next (while the first is held), and under the first again.
func (m *machine) replugged(prefix string, unplug, plug func()) {
	m.t.Helper()
	for _, name := range []string{"0", "1", "0"} {
		m.until("host", "received ")
		if name == "1" {
			m.do("hold", prefix+"0")
		} else {
			m.do("release")
		}
		unplug()
		m.until("host", "down serial device lost")
		plug()
		m.until("host", "opened "+prefix+name)
		m.until("host", "up ")
	}
}

// rates opens a device at rates from 1200 to 4 Mbaud: the answer marks those that the driver was found not to run at.
func (m *machine) rates(device, want string) {
	m.t.Helper()
	if got := m.do("rates", device); got != want {
		m.t.Errorf("rates of %s: %s, want %s", device, got, want)
	}
}

// stuck: a device whose other end takes nothing blocks a write, which its deadline ends, and is then closed at once,
// where the kernel alone would wait 15 s (gadget) or 30 s (others) for it to empty.
func (m *machine) stuck(device string) {
	m.t.Helper()
	var wrote, closed int
	answer := m.do("stuck", device)
	if _, err := fmt.Sscanf(answer, "wrote %d closed %d", &wrote, &closed); err != nil || wrote == 0 || closed > 10_000 {
		m.t.Errorf("%s: %s ms", device, answer)
	}
	m.t.Logf("%s: %s ms", device, answer)
}
