package consumers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tests/world"
	"touchmark/tpm/anchor"
)

// inToto runs a program of in-toto's, or a script of ours, in a directory, with our gpg for securesystemslib's.
func (d *desk) inToto(t *testing.T, dir string, argv ...string) (string, error) {
	t.Helper()
	return command{argv: append([]string{filepath.Join(d.tools, "touchmark-wait")}, argv...), dir: dir, env: d.env("GNUPG="+filepath.Join(d.tools, "gpg"), "TOUCHMARK_FORMAT=in-toto-gpg", "TOUCHMARK_TIMEOUT=1h30m"), log: t.Output()}.run(d.ctx)
}

// layout makes a layout of one step, whose links the owner of the layout signs.
const layout = `#!/usr/bin/python3
import sys
from in_toto.models.layout import Layout, Step
from in_toto.models.metadata import Metablock
from securesystemslib.gpg.functions import export_pubkey
key = export_pubkey(sys.argv[1])
layout = Layout()
layout.set_relative_expiration(months=24)
layout.add_functionary_key(key)
step = Step(name="build")
step.pubkeys = [key["keyid"]]
step.add_product_rule_from_string("CREATE demo.tar")
step.add_product_rule_from_string("DISALLOW *")
layout.steps = [step]
Metablock(signed=layout).dump("root.layout")
`

// patience prints how long securesystemslib waits for gpg.
const patience = `#!/usr/bin/python3
import inspect
from securesystemslib import process
print(inspect.signature(process.run).parameters["timeout"].default)
`

// signsForInToto has in-toto's own programs sign layout and link, of which the operator sees the meaning; they wait as
// long as it takes. in-toto-verify accepts them, and neither with a letter changed.
func signsForInToto(t *testing.T, d *desk) {
	dir := d.place(t)
	for name, text := range map[string]string{"layout.py": layout, "patience.py": patience} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		must(t, os.Chmod(filepath.Join(dir, name), 0o755))
	}
	if out, err := d.inToto(t, dir, "./patience.py"); err != nil || out != "5460\n" {
		t.Errorf("it waits %s %v", out, err)
	}
	works := func(argv ...string) {
		t.Helper()
		_, err := d.inToto(t, dir, argv...)
		must(t, err)
	}
	works("./layout.py", d.meta)
	works("in-toto-sign", "-f", "root.layout", "-g", d.meta)
	d.showed(t, "layout.in-toto", "in-toto layout", "expires 20", "build")
	must(t, os.WriteFile(filepath.Join(dir, "demo.tar"), []byte("demo"), 0o644))
	works("in-toto-run", "-n", "build", "-p", "demo.tar", "-g", d.meta, "--no-command")
	d.showed(t, "link.in-toto", "in-toto link", "demo.tar")
	verify := []string{"in-toto-verify", "-l", "root.layout", "-g", d.meta}
	works(verify...)
	for _, spoiled := range [][3]string{{"root.layout", "CREATE", "MODIFY"}, {"build." + strings.ToLower(d.meta[:8]) + ".link", "demo.tar", "demo.tax"}} {
		path := filepath.Join(dir, spoiled[0])
		change(t, path, spoiled[1], spoiled[2])
		if out, err := d.inToto(t, dir, verify...); err == nil {
			t.Errorf("in-toto-verify takes a changed %s: %s", spoiled[0], out)
		}
		change(t, path, spoiled[2], spoiled[1])
	}
	works(verify...)
}

// methods are apt's, with the transport made patient: on a busy machine gpg may take more than three seconds. Its log,
// which has one place for all users of a machine, is put into dir.
func (d *desk) methods(t *testing.T, dir string) string {
	t.Helper()
	own := filepath.Join(dir, "methods")
	must(t, os.Mkdir(own, 0o755))
	const theirs = "/usr/lib/apt/methods"
	entries, err := os.ReadDir(theirs)
	must(t, err)
	for _, e := range entries {
		if e.Name() != "intoto" {
			must(t, os.Symlink(filepath.Join(theirs, e.Name()), filepath.Join(own, e.Name())))
		}
	}
	text, err := os.ReadFile(filepath.Join(theirs, "intoto"))
	must(t, err)
	program := filepath.Join(own, "intoto.py")
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s\n", filepath.Join(d.tools, "touchmark-wait"), program)
	for path, content := range map[string]string{filepath.Join(own, "intoto"): script, program: strings.Replace(string(text), "/tmp/intoto.log", filepath.Join(dir, "intoto.log"), 1)} {
		must(t, os.WriteFile(path, []byte(content), 0o755))
	}
	return own
}

// rebuilder is an appliance of its own, with somebody who arms whatever is asked.
type rebuilder struct {
	w    *world.World
	dir  string // works here
	cert string // certificate of its key for in-toto's metadata
	id   string // its fingerprint
	link string // what it says of the package
}

// secondAppliance is another owner's, whose key is of another type.
func (d *desk) secondAppliance(t *testing.T) *world.World {
	t.Helper()
	w, err := world.Up(d.ctx, world.Config{Dir: filepath.Join(d.dir, "second"), Bin: d.w.Bin, Touch: "auto", Policy: func(text string) string { return withMetadataBy("ed25519", text) }})
	must(t, err)
	attend(t, w, w.Arm)
	return w
}

func newRebuilder(t *testing.T, w *world.World, dir string) *rebuilder {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.Trust, "trust"))
	must(t, err)
	trust, err := anchor.OpenTrust(text)
	must(t, err)
	c, err := certificate.Parse(trust.Certs[1])
	must(t, err)
	r := &rebuilder{w: w, dir: dir, cert: filepath.Join(dir, "cert.gpg"), id: fmt.Sprintf("%x", c.Key.Fingerprint())}
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(r.cert, trust.Certs[1], 0o644))
	r.link = filepath.Join(dir, "rebuild."+r.id[:8]+".link")
	return r
}

// touchmark runs a command of ours on this rebuilder's host; code is what it must end with.
func (r *rebuilder) touchmark(t *testing.T, code int, args ...string) world.Result {
	t.Helper()
	res, err := r.w.Run(t.Context(), r.dir, "touchmark", args...)
	if err != nil || res.Code != code {
		t.Fatalf("touchmark %q: %v, code %d, want %d\n%s%s", args, err, res.Code, code, res.Stdout, res.Stderr)
	}
	return res
}

// rebuilt is a repository with a package that two rebuilders made alike, a layout that says so, and a client.
type rebuilt struct {
	*desk
	t      *testing.T
	dir    string
	who    [2]*rebuilder
	url    string   // of the web server: /debian, /one, /two
	layout string   // signed by both
	root   string   // the client's system
	conf   []string // its apt
}

// newRebuilt has everything made by touchmark intoto, on two hosts with an appliance each.
func newRebuilt(t *testing.T, d *desk) *rebuilt {
	t.Helper()
	dir := d.place(t)
	r := &rebuilt{desk: d, t: t, dir: dir, layout: filepath.Join(dir, "root.layout"), root: filepath.Join(dir, "client", "root")}
	d.reprepro(t, dir, d.key)
	for i, w := range []*world.World{d.w, d.secondAppliance(t)} {
		r.who[i] = newRebuilder(t, w, filepath.Join(dir, []string{"one", "two"}[i]))
		r.who[i].touchmark(t, 0, "intoto", "link", "--class", "in-toto", filepath.Join(dir, "hello_1.0_all.deb"))
		_, err := d.gpg.run(d.ctx, "--import", r.who[i].cert)
		must(t, err)
	}
	one := r.who[0]
	one.touchmark(t, 0, "intoto", "layout", "new", "--rebuilder", one.cert, "--rebuilder", r.who[1].cert, "--out", r.layout)
	for _, owner := range r.who {
		owner.touchmark(t, 0, "intoto", "layout", "sign", "--class", "in-toto", r.layout)
	}
	d.showed(t, "in-toto layout", "rebuild", "2 of 2", "verify-rebuild")
	r.serve()
	return r
}

func (r *rebuilt) serve() {
	web := http.NewServeMux()
	web.Handle("/debian/", http.StripPrefix("/debian/", http.FileServer(http.Dir(r.dir))))
	for i, name := range []string{"one", "two"} {
		web.HandleFunc("/"+name+"/sources/hello/1.0/metadata", func(w http.ResponseWriter, q *http.Request) { http.ServeFile(w, q, r.who[i].link) })
	}
	server := httptest.NewServer(web)
	r.t.Cleanup(server.Close)
	r.url = server.URL
}

// pack is touchmark intoto client for a layout that both own.
func (r *rebuilt) pack(code int, version, layout string) string {
	r.t.Helper()
	r.who[0].touchmark(r.t, code, "intoto", "client", "--name", "demo", "--version", version, "--rebuilder", r.url+"/one", "--rebuilder", r.url+"/two/",
		"--owner", r.who[0].cert, "--owner", r.who[1].cert, "--out", r.dir, layout)
	return filepath.Join(r.dir, "demo-intoto-client_"+version+"_all.deb")
}

// dpkg changes the client's system.
func (r *rebuilt) dpkg(args ...string) string {
	r.t.Helper()
	argv := append([]string{"dpkg", "--root=" + r.root, "--force-not-root", "--force-script-chrootless", "--log=/dev/null"}, args...)
	return r.works(r.t, r.dir, asRoot(argv...)...)
}

// client makes a system whose apt knows the repository, and has the package of layout, keys and configuration. What the
// transport comes with is configured there too, but for the places of its rebuilders: they are nowhere here.
func (r *rebuilt) client() {
	r.conf = r.apt(r.t, "client", r.url+"/debian stable", "", "update")
	r.works(r.t, r.dir, r.conf...)
	const installed = "Package: %s\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n\n"
	must(r.t, os.WriteFile(filepath.Join(r.root, "var/lib/dpkg/status"), fmt.Appendf(nil, installed+installed, "apt-transport-in-toto", "gpg"), 0o644))
	parts := filepath.Join(r.root, "etc/apt/apt.conf.d")
	must(r.t, os.MkdirAll(parts, 0o755))
	theirs, err := os.ReadFile("/etc/apt/apt.conf.d/intoto")
	must(r.t, err)
	text := regexp.MustCompile(`"https?://[^"]*"`).ReplaceAllString(string(theirs), `"http://127.0.0.1:9/nobody"`)
	if strings.Count(text, "/nobody") != 2 || !strings.Contains(text, "NoFail") {
		r.t.Fatalf("the transport is configured otherwise than known:\n%s", theirs)
	}
	must(r.t, os.WriteFile(filepath.Join(parts, "intoto"), []byte(text), 0o644))
	r.dpkg("--install", r.pack(0, "1", r.layout))
	for _, f := range []string{"etc/apt/apt.conf.d/intoto-demo", "etc/intoto/demo/root.layout", "etc/intoto/demo/gnupg/pubring.gpg", "usr/share/doc/demo-intoto-client/README"} {
		if st, err := os.Stat(filepath.Join(r.root, f)); err != nil || st.Mode() != 0o644 {
			r.t.Errorf("%s: %v %v", f, err, st)
		}
	}
	// From here on over the transport, which apt finds the same lists for.
	dir := filepath.Dir(r.root)
	list := filepath.Join(dir, "sources.list")
	must(r.t, os.WriteFile(list, []byte(strings.Replace(read(r.t, list), " http:", " intoto:", 1)), 0o644))
	conf := strings.Replace(fmt.Sprintf(aptConf, dir, ""), ` parts "-"`, fmt.Sprintf(" parts %q", parts), 1)
	must(r.t, os.WriteFile(filepath.Join(dir, "apt.conf"), fmt.Appendf(nil, "%sDir::Bin::methods %q;\n", conf, r.methods(r.t, r.dir)), 0o644))
}

// installs has apt install the package: with the client's /etc/intoto in the place of this machine's, and nothing else
// changed.
func (r *rebuilt) installs() (string, error) {
	const there = `mount --bind "$1" /etc/intoto && shift && exec "$@"`
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	argv := append(unshare, "sh", "-c", there, "sh", filepath.Join(r.root, "etc/intoto"))
	return r.run(r.t, r.dir, append(append(argv, r.conf[:3]...), "-y", "install", "hello")...)
}

// refuses wants apt to install nothing while something is in the place of one of the client's files, or while it is away.
func (r *rebuilt) refuses(what, path, content, words string) {
	r.t.Helper()
	good, err := os.ReadFile(path)
	must(r.t, err)
	must(r.t, os.Remove(path))
	if content != "" {
		must(r.t, os.WriteFile(path, []byte(content), 0o644))
	}
	if out, err := r.installs(); err == nil || !strings.Contains(out, words) {
		r.t.Errorf("%s: %v, want a refusal with %q\n%s", what, err, words, out)
	}
	must(r.t, os.WriteFile(path, good, 0o644))
}

// signsForTransport: the package that touchmark intoto client makes turns a system into one that installs over
// apt-transport-in-toto what two rebuilders made alike, as a layout says that two appliances signed; and nothing with a
// link fewer, a layout that was changed, has expired or is not signed by all owners, another key. It leaves as it came.
func signsForTransport(t *testing.T, d *desk) {
	r := newRebuilt(t, d)
	r.byInTotoVerify()
	r.client()
	layout, conf := filepath.Join(r.root, "etc/intoto/demo/root.layout"), filepath.Join(r.root, "etc/apt/apt.conf.d/intoto-demo")
	signed := read(t, r.layout)
	r.refuses("a changed layout", layout, strings.Replace(signed, `"threshold": 2`, `"threshold": 1`, 1), "In-toto verification")
	r.refuses("an expired layout", layout, r.expired(), "expired")
	r.refuses("a layout of one owner only", layout, r.ofOneOwner(), "No signature found for key")
	r.refuses("another key", conf, strings.ReplaceAll(read(t, conf), strings.ToUpper(r.who[0].id), d.key), "In-toto verification")
	r.refuses("a link fewer", r.who[1].link, "", "In-toto verification")
	out, err := r.installs()
	if status := read(t, filepath.Join(r.root, "var/lib/dpkg/status")); err != nil || !strings.Contains(status, "Package: hello\nStatus: install ok installed") {
		t.Fatalf("%v\n%s\n%s", err, out, status)
	}
	r.leaves()
}

// byInTotoVerify: in-toto's own program says the same of layout and links.
func (r *rebuilt) byInTotoVerify() {
	dir := r.place(r.t) + "/links"
	must(r.t, os.Mkdir(dir, 0o755))
	takes := func(want bool) {
		r.t.Helper()
		if out, err := r.inToto(r.t, dir, "in-toto-verify", "-l", r.layout, "-g", r.who[0].id, r.who[1].id); (err == nil) != want {
			r.t.Errorf("in-toto-verify: %v\n%s", err, out)
		}
	}
	must(r.t, copyFile(filepath.Join(dir, "hello_1.0_all.deb"), filepath.Join(r.dir, "hello_1.0_all.deb")))
	must(r.t, copyFile(filepath.Join(dir, filepath.Base(r.who[0].link)), r.who[0].link))
	takes(false)
	must(r.t, copyFile(filepath.Join(dir, filepath.Base(r.who[1].link)), r.who[1].link))
	takes(true)
	flipLastByte(r.t, filepath.Join(dir, "hello_1.0_all.deb"))
	takes(false)
}

// expired is a layout that both signed although it has lapsed, which only touchmark sign has done; nobody packs it.
func (r *rebuilt) expired() string {
	path := filepath.Join(r.dir, "expired.layout")
	text := regexp.MustCompile(`"expires": "20[0-9-]*T`).ReplaceAllString(read(r.t, r.layout), `"expires": "2021-01-01T`)
	must(r.t, os.WriteFile(path, []byte(text), 0o644))
	for _, owner := range r.who {
		owner.touchmark(r.t, 13, "intoto", "layout", "sign", "--class", "in-toto", path)
		owner.touchmark(r.t, 0, "sign", "-q", "--format", "in-toto-gpg", "--class", "in-toto", path)
		must(r.t, os.Rename(path+".sig", path))
		must(r.t, os.Remove(path+".tmproof"))
	}
	r.pack(13, "0", path)
	return read(r.t, path)
}

// ofOneOwner is a layout that the second owner alone signed; nobody packs that either.
func (r *rebuilt) ofOneOwner() string {
	path := filepath.Join(r.dir, "single.layout")
	r.who[1].touchmark(r.t, 0, "intoto", "layout", "new", "--rebuilder", r.who[1].cert, "--out", path)
	r.who[1].touchmark(r.t, 0, "intoto", "layout", "sign", "--class", "in-toto", path)
	r.pack(3, "0", path)
	return read(r.t, path)
}

// leaves: an upgrade brings another layout without a question; a removal keeps the check, a purge takes all of it.
func (r *rebuilt) leaves() {
	later := filepath.Join(r.dir, "later", "root.layout")
	r.who[0].touchmark(r.t, 13, "intoto", "resign-due", "--days", "800", "--expires", "2036-01-01T00:00:00Z", "--out", filepath.Dir(later), r.layout)
	for _, owner := range r.who {
		owner.touchmark(r.t, 0, "intoto", "layout", "sign", "--class", "in-toto", later)
	}
	r.dpkg("--install", r.pack(0, "2", later))
	if read(r.t, filepath.Join(r.root, "etc/intoto/demo/root.layout")) != read(r.t, later) {
		r.t.Error("the upgrade brought no other layout")
	}
	r.dpkg("--remove", "demo-intoto-client")
	if text := read(r.t, filepath.Join(r.root, "etc/apt/apt.conf.d/intoto-demo")); !strings.Contains(text, "#clear") {
		r.t.Error("a removal takes the configuration away, and NoFail counts again")
	}
	must(r.t, os.WriteFile(filepath.Join(r.root, "etc/intoto/demo/gnupg/trustdb.gpg"), nil, 0o600)) // as gpg may do
	r.dpkg("--purge", "demo-intoto-client")
	for _, gone := range []string{"etc/intoto", "etc/apt/apt.conf.d/intoto-demo", "usr/share/doc/demo-intoto-client"} {
		if _, err := os.Lstat(filepath.Join(r.root, gone)); err == nil {
			r.t.Errorf("a purge leaves %s", gone)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}
