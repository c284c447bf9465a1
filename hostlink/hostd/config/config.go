// Package config reads hostd.toml (docs/host-guide.md, "Configuration"): every key
// checked, unknown ones refused, defaults filled in, errors with line and column.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"touchmark/hostlink/serialport/usbtty"
)

// Line rates that serial hardware does.
const minBaud, maxBaud = 1200, 4_000_000

// Config of the daemon, as it stands in hostd.toml. Relative paths are taken
// from the directory of the file.
type Config struct {
	Device  string `toml:"device"`  // tty that leads to the appliance, or "auto" (usbtty.ParseAuto)
	Baud    int    `toml:"baud"`    // default 115200; a pty or USB gadget ignores it
	State   string `toml:"state"`   // directory of the mirror; created
	Publish string `toml:"publish"` // tlog-tiles directory; created; "" publishes nothing
	Trust   string `toml:"trust"`   // trust file, or the directory that holds it
	Key     string `toml:"key"`     // host key made by "touchmark key new"
	Socket  string `toml:"socket"`  // unix socket for touchmark

	SocketMode string   `toml:"socket_mode"` // octal, default "0660"
	LinkGrace  Duration `toml:"link_grace"`  // how long a new request waits for a lost link; default 5s

	// Metrics is where Prometheus may read: an address of the loopback, or "unix:" and a path; "" for nowhere.
	Metrics string `toml:"metrics"`

	Watch []Watch `toml:"watch"` // repositories that are signed in rounds
}

// Duration is a time in TOML as Go writes it: "5s", "10m".
type Duration time.Duration

// UnmarshalText parses the text form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration: write for example \"5s\" or \"10m\"", b)
	}
	*d = Duration(v)
	return nil
}

// Load reads and checks a configuration file. Errors name the file, and
// line and column where TOML has them.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("configuration: %s does not exist: name another with --config", path)
	case err != nil:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	dir := filepath.Dir(path)
	for i := range c.Watch {
		c.Watch[i].resolve(dir)
	}
	if _, err := c.Rules(); err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	if path, ok := strings.CutPrefix(c.Metrics, UnixPrefix); ok && path != "" && !filepath.IsAbs(path) {
		c.Metrics = UnixPrefix + filepath.Join(dir, path)
	}
	for _, p := range []*string{&c.State, &c.Publish, &c.Trust, &c.Key, &c.Socket, c.devicePath()} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

// devicePath is the device where it is a path, and nothing where it is "auto".
func (c *Config) devicePath() *string {
	if _, auto, _ := usbtty.ParseAuto(c.Device); auto {
		return new(string)
	}
	return &c.Device
}

// Parse checks a configuration text and fills in the defaults.
func Parse(text []byte) (*Config, error) {
	c := &Config{Baud: 115200, SocketMode: "0660", LinkGrace: Duration(5 * time.Second)}
	dec := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		return nil, explain(err)
	}
	return c, c.check()
}

// ofType is how a decoder tells a value of the wrong type.
var ofType = regexp.MustCompile(`cannot decode TOML (\S+) into .*`)

// explain gives TOML errors as "line:column: what".
func explain(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		row, col := strict.Errors[0].Position()
		key, known := strings.Join(strict.Errors[0].Key(), "."), "device, baud, state, publish, trust, key, socket, socket_mode, link_grace, metrics and [[watch]]"
		if strings.HasPrefix(key, "watch.") {
			known = watchKeys
		}
		return fmt.Errorf("%d:%d: unknown key %q: known are %s", row, col, key, known)
	}
	var dec *toml.DecodeError
	if errors.As(err, &dec) {
		row, col := dec.Position()
		return fmt.Errorf("%d:%d: %s", row, col, ofType.ReplaceAllString(strings.TrimPrefix(dec.Error(), "toml: "), "$1 is not what "+strings.Join(dec.Key(), ".")+" takes"))
	}
	return fmt.Errorf(" %w", err)
}

func (c *Config) check() error {
	for _, f := range []struct{ name, value string }{
		{"device", c.Device}, {"state", c.State}, {"trust", c.Trust}, {"key", c.Key}, {"socket", c.Socket},
	} {
		if f.value == "" {
			return fmt.Errorf(" key %q is missing: add %s = \"…\"", f.name, f.name)
		}
	}
	if c.Baud < minBaud || c.Baud > maxBaud {
		return fmt.Errorf(" baud = %d: use a line rate from %d to %d, for example 115200", c.Baud, minBaud, maxBaud)
	}
	if _, _, err := usbtty.ParseAuto(c.Device); err != nil {
		return fmt.Errorf(" device = %q: %w", c.Device, err)
	}
	if c.Metrics != "" {
		if err := CheckMetrics(c.Metrics); err != nil {
			return fmt.Errorf(" metrics = %q: %w", c.Metrics, err)
		}
	}
	if mode, err := strconv.ParseUint(c.SocketMode, 8, 32); err != nil || mode > 0o777 {
		return fmt.Errorf(" socket_mode = %q: write octal permissions such as \"0660\"", c.SocketMode)
	}
	return nil
}

// Mode is the socket's permissions; a checked configuration has valid ones.
func (c *Config) Mode() os.FileMode {
	mode, err := strconv.ParseUint(c.SocketMode, 8, 32)
	if err != nil {
		return 0o600
	}
	return os.FileMode(mode)
}
