package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMetricsAddress(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9469": "", "127.1.2.3:1": "", "[::1]:9469": "", "unix:/run/touchmark/metrics.sock": "", "unix:m": "",
		"0.0.0.0:9469": "only the loopback", "[::]:9469": "only the loopback", "192.0.2.1:80": "only the loopback", "[fe80::1%lo]:80": "only the loopback",
		":9469": "write an address", "localhost:9469": "write an address", "127.0.0.1": "write an address", "127.0.0.1:x": "write an address", "unix:": "the path of a socket",
	} {
		path := filepath.Join(t.TempDir(), "hostd.toml")
		if err := os.WriteFile(path, []byte(goodConfig+"metrics = \""+address+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && CheckMetrics(address) == nil {
			t.Errorf("%q is refused only in a file", address)
		}
		if address == "unix:m" && c.Metrics != "unix:"+filepath.Join(filepath.Dir(path), "m") {
			t.Errorf("a relative path becomes %q", c.Metrics)
		}
	}
}

// TestPackaged: the file that packages bring is one, and needs no edit for a board on its own port.
func TestPackaged(t *testing.T) {
	c, err := Load("../../packaging/hostd.toml")
	if err != nil || c.Device != "auto" || c.Metrics != "" {
		t.Errorf("%+v, %v", c, err)
	}
}
