package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	c, err := Load(path)
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
		c, err := Load(path)
		if want = strings.Replace(want, "DIR", filepath.Dir(path), 1); err != nil || c.Device != want {
			t.Errorf("device = %q becomes %v, %v; want %q", device, c, err, want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"wrong type of value": {strings.Replace(goodConfig, `state = "state"`, "state = 7", 1), "2:9: integer is not what state takes"},
		"unknown key":         {goodConfig + "\ndevise = \"x\"\n", "7:1: unknown key \"devise\": known are device"},
		"syntax":              {"device = \n", "1:"},
		"wrong type":          {goodConfig + "baud = \"fast\"\n", "6:"},
		"missing":             {strings.Replace(goodConfig, "trust = \"trust\"\n", "", 1), "key \"trust\" is missing: add trust ="},
		"baud":                {goodConfig + "baud = 0\n", "baud = 0: use a line rate"},
		"mode":                {goodConfig + "socket_mode = \"rw\"\n", "write octal permissions"},
		"large mode":          {goodConfig + "socket_mode = \"7777\"\n", "write octal permissions"},
		"usb id":              {strings.Replace(goodConfig, "/dev/ttyUSB0", "auto:FTDI", 1), "device = \"auto:FTDI\": \"FTDI\" is not a USB id: write"},
		"duration":            {goodConfig + "link_grace = \"soon\"\n", "write for example"},
		"negative time":       {goodConfig + "link_grace = \"-1s\"\n", "write for example"},
	} {
		path := filepath.Join(t.TempDir(), "hostd.toml")
		if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path+":") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load("/nowhere/hostd.toml"); err == nil || !strings.Contains(err.Error(), "/nowhere/hostd.toml") {
		t.Errorf("missing file: %v", err)
	}
}
