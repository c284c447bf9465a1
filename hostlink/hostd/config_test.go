package hostd

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
)

const goodConfig = `device = "/dev/ttyUSB0"
state = "state"
trust = "trust"
key = "host.key"
socket = "hostd.sock"
`

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hostd.toml")
	if err := os.WriteFile(path, []byte(goodConfig+"link_grace = \"1m\"\nsocket_mode = \"0600\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Baud != 115200 || c.Mode() != 0o600 || time.Duration(c.LinkGrace) != time.Minute || c.Publish != "" ||
		c.Device != "/dev/ttyUSB0" || c.State != filepath.Join(filepath.Dir(path), "state") {
		t.Fatalf("%+v", c)
	}
}

// TestAutoIsNoPath: "auto" is not taken for a file beside the configuration.
func TestAutoIsNoPath(t *testing.T) {
	for device, want := range map[string]string{"auto": "auto", "auto:0403:6001": "auto:0403:6001", "line": "DIR/line", "./auto": "DIR/auto"} {
		path := filepath.Join(t.TempDir(), "hostd.toml")
		if err := os.WriteFile(path, []byte(strings.Replace(goodConfig, "/dev/ttyUSB0", device, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(path)
		if want = strings.Replace(want, "DIR", filepath.Dir(path), 1); err != nil || c.Device != want {
			t.Errorf("device = %q becomes %v, %v; want %q", device, c, err, want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":   {goodConfig + "\ndevise = \"x\"\n", "7:1: unknown key \"devise\": known are device"},
		"syntax":        {"device = \n", "1:"},
		"wrong type":    {goodConfig + "baud = \"fast\"\n", "6:"},
		"missing":       {strings.Replace(goodConfig, "trust = \"trust\"\n", "", 1), "key \"trust\" is missing: add trust ="},
		"baud":          {goodConfig + "baud = 0\n", "baud = 0: use a line rate"},
		"mode":          {goodConfig + "socket_mode = \"rw\"\n", "write octal permissions"},
		"large mode":    {goodConfig + "socket_mode = \"7777\"\n", "write octal permissions"},
		"usb id":        {strings.Replace(goodConfig, "/dev/ttyUSB0", "auto:FTDI", 1), "device = \"auto:FTDI\": \"FTDI\" is not a USB id: write"},
		"duration":      {goodConfig + "link_grace = \"soon\"\n", "write for example"},
		"negative time": {goodConfig + "link_grace = \"-1s\"\n", "write for example"},
	} {
		path := filepath.Join(t.TempDir(), "hostd.toml")
		if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig(path)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path+":") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadConfig("/nowhere/hostd.toml"); err == nil || !strings.Contains(err.Error(), "/nowhere/hostd.toml") {
		t.Errorf("missing file: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "tm")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "run", "s")
	l := must(Listen(path, 0o640))
	if st := must(os.Stat(path)); st.Mode().Perm() != 0o640 {
		t.Fatalf("mode %v", st.Mode())
	}
	if _, err := Listen(path, 0o640); err == nil || !strings.Contains(err.Error(), "another touchmark-hostd is running") {
		t.Fatalf("second daemon: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as one that was killed
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = must(Listen(path, 0o600))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stale := must(os.Create(path))
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o640); err == nil {
		t.Fatal("a file that is no socket was replaced")
	}
}

// flaky is a listener that fails before each connection.
type flaky struct {
	net.Listener
	failed bool
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.failed = !l.failed; l.failed {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// TestSocketRecovers: a daemon that cannot take a connection takes the next.
func TestSocketRecovers(t *testing.T) {
	w := newWorld(t)
	w.stop()
	l := &flaky{Listener: must(Listen(w.socket, 0o600))}
	d := must(New(w.options()))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, newBoard(t), l) }()
	for range 2 {
		w.ask(&api.Request{Op: api.OpJobs}).expect(api.OK, "")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
