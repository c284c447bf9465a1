package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodWatch = goodConfig + `
[[watch]]
rule  = "core"
class = "db"
dir   = "staging/core"
into  = "www/core"
lock  = "core.db.tar.gz.lck"
at    = ["18:00", "08:30"]
stale = "24h"
hook  = ["/bin/true", "x"]

[[watch.sign]]
file = "core.*.tar.gz"

[[watch]]
rule   = "apt"
class  = "apt"
urgent = "apt-now"
dir    = "dists/stable"
into   = "www/stable"
every  = "4h"
window = "30m"
batch  = 2
skip   = []

[[watch.sign]]
file   = "Release"
format = "openpgp-cleartext"
hash   = "sha512"
as     = "InRelease"

[[watch.sign]]
file  = "Release"
armor = true
as    = "Release.gpg"
`

func loadText(t *testing.T, text string) (*Config, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	return c, path, err
}

func TestWatch(t *testing.T) {
	c, path, err := loadText(t, goodWatch)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := c.Rules()
	if err != nil || len(rules) != 2 {
		t.Fatalf("%v, %v", rules, err)
	}
	dir := filepath.Dir(path)
	core, apt := rules[0], rules[1]
	if core.Name != "core" || core.Files.Rule != "core" || core.Batch != 16 || core.Window != time.Hour || core.Stale != 24*time.Hour ||
		len(core.At) != 2 || core.At[0] != 8*60+30 || core.Files.Dir != dir+"/staging/core" || core.Files.Lock != dir+"/staging/core/core.db.tar.gz.lck" ||
		core.Files.Into != dir+"/www/core" || len(core.Files.Skip) != 2 || core.Files.Sign[0].Format.Name != "openpgp-binary" || len(core.Hook) != 2 {
		t.Errorf("%+v", core)
	}
	if apt.Urgent != "apt-now" || apt.Every != 4*time.Hour || apt.Window != 30*time.Minute || apt.Batch != 2 || len(apt.Files.Skip) != 0 || apt.Files.Lock != "" ||
		apt.Files.Sign[0].As != "InRelease" || apt.Files.Sign[0].Alg != "sha512" || !apt.Files.Sign[1].Armor {
		t.Errorf("%+v", apt)
	}
}

func TestWatchErrors(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"unknown key":       {`stale = "24h"`, `stall = "24h"`, `unknown key "watch.stall": known are rule, class`},
		"no class":          {`class = "db"`, ``, "names of a-z"},
		"two of a name":     {`rule   = "apt"`, `rule   = "core"`, `two rules are called "core"`},
		"time of day":       {`"08:30"`, `"8:30"`, "no time of day"},
		"two schedules":     {`stale = "24h"`, `always = true`, "one of always, at and every"},
		"short period":      {`every  = "4h"`, `every  = "10m"`, "shorter than the window"},
		"urgent as usual":   {`urgent = "apt-now"`, `urgent = "apt"`, "is the ordinary class"},
		"batch":             {`batch  = 2`, `batch  = 17`, "use 1 to 16"},
		"into in dir":       {`into  = "www/core"`, `into  = "staging/core/www"`, "must be apart"},
		"same into":         {`into   = "www/stable"`, `into   = "www/core"`, `that of rule "core"`},
		"crossed":           {`into   = "www/stable"`, `into   = "staging/core"`, "in one another"},
		"relative hook":     {`"/bin/true"`, `"true"`, "absolute path"},
		"format":            {`"openpgp-cleartext"`, `"pgp"`, `format "pgp": use`},
		"document":          {`"openpgp-cleartext"`, `"in-toto-native"`, "is for documents"},
		"hash":              {`"sha512"`, `"md5"`, `hash "md5"`},
		"path":              {`"core.*.tar.gz"`, `"../x"`, "a file in dir"},
		"bad pattern":       {`"core.*.tar.gz"`, `"core.[.gz"`, "a file in dir"},
		"as for a pattern":  {`file = "core.*.tar.gz"`, "file = \"core.*.tar.gz\"\nas = \"x\"", "as is for one file"},
		"as is the file":    {`as     = "InRelease"`, `as     = "Release"`, "no name of a file beside it"},
		"twice":             {`armor = true`, `format = "openpgp-cleartext"`, "signed twice"},
		"nothing is signed": {"[[watch.sign]]\nfile = \"core.*.tar.gz\"", "", "at least one [[watch.sign]]"},
		"skip":              {`skip   = []`, `skip   = ["[x"]`, "is no pattern"},
	} {
		if !strings.Contains(goodWatch, tc.old) {
			t.Fatalf("%s: nothing to change", name)
		}
		_, path, err := loadText(t, strings.Replace(goodWatch, tc.old, tc.new, 1))
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path+":") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWatchBehindLinks: directories that are in one another are so by any name.
func TestWatchBehindLinks(t *testing.T) {
	for _, c := range []struct{ link, to, into, want string }{
		{"www", "staging/core", "www/stable", "must be apart"}, // www/core is staging/core/core
		{"other", "www", "other/core/x", `that of rule "core"`},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "hostd.toml")
		text := strings.Replace(goodWatch, `into   = "www/stable"`, `into   = "`+c.into+`"`, 1)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, c.to), 0o755), os.Symlink(c.to, filepath.Join(dir, c.link)), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.link, err)
		}
	}
}

// TestWatchExampleOfTheGuide: what docs/rounds.md shows is a configuration.
func TestWatchExampleOfTheGuide(t *testing.T) {
	b, err := os.ReadFile("../../../docs/rounds.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "```toml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("no example")
	}
	c, _, err := loadText(t, goodConfig+example)
	if err != nil {
		t.Fatal(err)
	}
	if rules, err := c.Rules(); err != nil || len(rules) != 1 || len(rules[0].Files.Sign) != 2 {
		t.Errorf("%+v, %v", rules, err)
	}
}
