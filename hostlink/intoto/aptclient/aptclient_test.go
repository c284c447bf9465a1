package aptclient

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/intoto"
	"touchmark/hostlink/message"
)

var now = time.Date(2026, 3, 2, 15, 4, 5, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// owner is a token key in software.
type owner struct {
	signer crypto.Signer
	cert   *certificate.Certificate
}

func newOwner(userID string, signer crypto.Signer, made time.Time) *owner {
	o := &owner{signer: signer}
	k := must(signing.NewKey(signer.Public(), made))
	o.cert = must(certificate.Parse(must(certificate.New(k, userID, o.token))))
	return o
}

func (o *owner) token(digest []byte, h crypto.Hash) ([]byte, error) {
	if _, ed := o.signer.(ed25519.PrivateKey); ed {
		h = 0 // the message is the digest
	}
	return o.signer.Sign(rand.Reader, digest, h)
}

func (o *owner) key() *intoto.Functionary { return must(intoto.ParseKey(o.cert.Bytes(), now)) }

// sign puts a signature into a layout.
func (o *owner) sign(layout []byte) []byte {
	state := must(sigformat.InTotoGPG.Digest(message.SHA256, bytes.NewReader(layout)))
	p := must(sigformat.InTotoGPG.Plan(o.cert.Key, state, now, "touchmark.example/client", message.JobID{1}))
	sig := must(p.Finish(must(o.token(p.Signed()))))
	return must(sigformat.InTotoGPG.Enclose(o.cert.Key, layout, sig))
}

func ed() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

// alice and bob own layouts; nobody else's key is that.
var (
	alice   = newOwner("Alice <alice@touchmark.example>", must(rsa.GenerateKey(rand.Reader, 2048)), now.AddDate(-1, 0, 0))
	bob     = newOwner("Bob <bob@touchmark.example>", ed(), now.AddDate(0, -1, 0))
	mallory = newOwner("Mallory <mallory@touchmark.example>", ed(), now.AddDate(0, -1, 0))
)

// layout is one of two rebuilders, signed by those who own it.
func layout(owners ...*owner) []byte {
	file := must(intoto.Layout{Step: "rebuild", Products: "*.deb", Threshold: 2, Expires: intoto.DefaultExpiry(now), Keys: []*intoto.Functionary{alice.key(), bob.key()}}.File())
	for _, o := range owners {
		file = o.sign(file)
	}
	return file
}

func config(owners ...*owner) Config {
	c := Config{Name: "example", Version: "1", Layout: layout(owners...), Rebuilders: []string{"https://rebuild.alice.example", "http://127.0.0.1:8080/bob/"}}
	for _, o := range owners {
		c.Owners = append(c.Owners, o.key())
	}
	return c
}

// file is one of a package.
func file(t *testing.T, c Config, path string) []byte {
	t.Helper()
	for _, f := range must(c.Package(now)).Files {
		if f.Path == path {
			return f.Content
		}
	}
	t.Fatalf("no %s", path)
	return nil
}

// TestPackage: what is in it, whose it is, and how old it seems.
func TestPackage(t *testing.T) {
	c := config(alice, bob)
	p := must(c.Package(now))
	if p.Name != "example-intoto-client" || p.Maintainer != "Alice <alice@touchmark.example>" || !p.Time.Equal(bob.cert.Key.Created) {
		t.Errorf("%s by %s of %s", p.Name, p.Maintainer, p.Time)
	}
	for path, want := range map[string]string{
		"etc/intoto/example/root.layout":                 string(c.Layout),
		"etc/intoto/example/gnupg/pubring.gpg":           string(alice.cert.Bytes()) + string(bob.cert.Bytes()),
		"usr/share/doc/example-intoto-client/README":     "  " + strings.ToUpper(bob.key().ID) + "  Bob <bob@touchmark.example>\n",
		"etc/apt/apt.conf.d/intoto-example":              "\n#clear APT::Intoto;\n",
		"usr/share/doc/example-intoto-client/README\x00": "needs 2 equal results",
	} {
		if got := file(t, c, strings.TrimSuffix(path, "\x00")); !bytes.Contains(got, []byte(want)) {
			t.Errorf("%q has no %q:\n%s", path, want, got)
		}
	}
	if again := must(config(alice, bob).Package(now.AddDate(0, 1, 0))); !bytes.Equal(must(again.Bytes()), must(p.Bytes())) {
		// Ed25519 and PKCS #1 signatures of one text are the same each time.
		t.Error("the same input gives other bytes")
	}
	hostile := newOwner("Eve <eve@touchmark.example>", ed(), now)
	key := hostile.key()
	key.UserID = "Eve\n  0123  \x1b[1mSomebody else <s@touchmark.example>"
	c = config(hostile)
	c.Owners, c.Maintainer = []*intoto.Functionary{key}, "M <m@touchmark.example>"
	if text := file(t, c, "usr/share/doc/example-intoto-client/README"); !bytes.Contains(text, []byte(`"Eve\n  0123  \x1b[1mSomebody`)) {
		t.Errorf("a user id moves lines:\n%s", text)
	}
}

// TestAsAptReadsIt: behind the file that comes with the transport, apt has of our configuration all and of that nothing.
func TestAsAptReadsIt(t *testing.T) {
	dir := t.TempDir()
	parts := filepath.Join(dir, "parts")
	must(0, os.Mkdir(parts, 0o755))
	theirs, err := os.ReadFile("/etc/apt/apt.conf.d/intoto")
	if err != nil || !bytes.Contains(theirs, []byte("NoFail")) {
		t.Fatalf("apt-transport-in-toto's own configuration: %v (run \"make setup\")\n%s", err, theirs)
	}
	must(0, os.WriteFile(filepath.Join(parts, "intoto"), theirs, 0o644))
	must(0, os.WriteFile(filepath.Join(parts, "intoto-example"), file(t, config(alice, bob), "etc/apt/apt.conf.d/intoto-example"), 0o644))
	main := filepath.Join(dir, "apt.conf")
	must(0, os.WriteFile(main, []byte(`Dir::Etc { main "/dev/null"; parts "`+parts+`"; };`), 0o644))
	cmd := exec.CommandContext(t.Context(), "apt-config", "dump", "--no-empty", "APT::Intoto")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "APT_CONFIG=" + main}
	out, err := cmd.CombinedOutput()
	want := `APT::Intoto::LogLevel:: "20";
APT::Intoto::Rebuilders:: "https://rebuild.alice.example";
APT::Intoto::Rebuilders:: "http://127.0.0.1:8080/bob/";
APT::Intoto::Layout:: "/etc/intoto/example/root.layout";
APT::Intoto::Keyids:: "` + strings.ToUpper(alice.key().ID) + `";
APT::Intoto::Keyids:: "` + strings.ToUpper(bob.key().ID) + `";
APT::Intoto::GPGHomedir:: "/etc/intoto/example/gnupg";
`
	if err != nil || string(out) != want {
		t.Errorf("%v, apt has\n%s\nwant\n%s", err, out, want)
	}
}

// TestRefused: what would leave a client without packages, or with packages that nobody rebuilt.
func TestRefused(t *testing.T) {
	without := func(file []byte, old, new string) []byte { return bytes.Replace(file, []byte(old), []byte(new), 1) }
	for what, c := range map[string]struct {
		change func(*Config)
		words  string
	}{
		"a name with a point": {func(c *Config) { c.Name = "example.org" }, "no name for a client"},
		"a path":              {func(c *Config) { c.Name = "../x" }, "no name for a client"},
		"no name":             {func(c *Config) { c.Name = "" }, "no name for a client"},
		"no JSON":             {func(c *Config) { c.Layout = []byte("x") }, "byte 0"},
		"a link":              {func(c *Config) { c.Layout = must(intoto.Link("x", []intoto.Product{{Name: "a"}})) }, "an in-toto link, not a layout"},
		"without steps": {func(c *Config) {
			c.Layout = []byte(`{"_type":"layout","expires":"2028-11-22T00:00:00Z","inspect":[],"keys":{},"readme":"","steps":[]}`)
		}, "no steps"},
		"no owner":                  {func(c *Config) { c.Owners = nil }, "name 1 to"},
		"too many owners":           {func(c *Config) { c.Owners = make([]*intoto.Functionary, maxOwners+1) }, "name 1 to"},
		"an owner twice":            {func(c *Config) { c.Owners = append(c.Owners, alice.key()) }, "given twice"},
		"nobody signed":             {func(c *Config) { c.Layout = layout() }, "no signature names the key"},
		"one owner did not sign":    {func(c *Config) { c.Layout = layout(alice) }, "no signature names the key " + bob.key().ID},
		"somebody else signed":      {func(c *Config) { c.Layout = layout(mallory) }, "no signature names the key"},
		"changed since":             {func(c *Config) { c.Layout = without(c.Layout, `"threshold": 2`, `"threshold": 1`) }, "is not over this"},
		"another's under its name":  {func(c *Config) { c.Layout = without(layout(mallory, alice), mallory.key().ID, bob.key().ID) }, "is not over this"},
		"a bad one before the good": {func(c *Config) { c.Layout = without(layout(mallory, alice, bob), mallory.key().ID, alice.key().ID) }, "is not over this"},
		"a signature of no key":     {func(c *Config) { c.Layout = without(c.Layout, `"other_headers": "`, `"other_headers": "x`) }, "none of an OpenPGP key"},
		"a rebuilder too few":       {func(c *Config) { c.Rebuilders = c.Rebuilders[:1] }, "demands 2 links"},
		"too many":                  {func(c *Config) { c.Rebuilders = make([]string, maxRebuilders+1) }, "at most"},
		"a rebuilder twice":         {func(c *Config) { c.Rebuilders[1] = c.Rebuilders[0] }, "given twice"},
		"… with a slash":            {func(c *Config) { c.Rebuilders[1] = c.Rebuilders[0] + "/" }, "given twice"},
		"… with capitals":           {func(c *Config) { c.Rebuilders[1] = "https://Rebuild.ALICE.example" }, "given twice"},
		"no address":                {func(c *Config) { c.Rebuilders[0] = "rebuild.alice.example" }, "no address"},
		"of another kind":           {func(c *Config) { c.Rebuilders[0] = "file:///x" }, "no address"},
		"IPv6":                      {func(c *Config) { c.Rebuilders[0] = "http://[::1]/x" }, "no address"},
		"with a quote":              {func(c *Config) { c.Rebuilders[0] = `http://x/";};APT::x "` }, "no address"},
		"with a line":               {func(c *Config) { c.Rebuilders[0] = "http://x/\nAPT" }, "no address"},
		"with percent":              {func(c *Config) { c.Rebuilders[0] = "http://x/%41" }, "no address"},
		"with a password":           {func(c *Config) { c.Rebuilders[0] = "http://a:b@x/" }, "no address"},
		"with a query":              {func(c *Config) { c.Rebuilders[0] = "http://x/?a" }, "no address"},
	} {
		x := config(alice, bob)
		c.change(&x)
		if _, err := x.Package(now); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := config(alice).Package(now.AddDate(3, 0, 0)); !errors.Is(err, ErrLapsed) {
		t.Errorf("lapsed: %v", err)
	}
}

// FuzzConfig: no layout, address or name makes it fail otherwise than by an error, and what is made has one line of
// configuration for each rebuilder.
func FuzzConfig(f *testing.F) {
	good := config(alice)
	f.Add("example", good.Rebuilders[0], good.Layout)
	f.Add("x", "http://x/::", []byte(`{"_type":"layout"}`))
	f.Fuzz(func(t *testing.T, name, address string, layout []byte) {
		c := config(alice)
		c.Name, c.Rebuilders[0] = name, address
		if len(layout) > 0 {
			c.Layout = layout
		}
		p, err := c.Package(now)
		if err != nil {
			return
		}
		if _, err := p.Bytes(); err != nil {
			t.Error(err)
		}
		if conf := p.Files[0].Content; bytes.Count(conf, []byte(`"`)) != 2*(1+len(c.Rebuilders)+1+1+1) {
			t.Errorf("%s", conf)
		}
	})
}
