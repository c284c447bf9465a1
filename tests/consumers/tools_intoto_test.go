package consumers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// rebuilt makes what apt's transport needs: keys of two rebuilders, a layout as it is the transport's default (both must
// have rebuilt the package; an inspection compares), one that has expired, and their links for the package.
const rebuilt = `#!/usr/bin/python3
import hashlib, json, sys
from in_toto.models.layout import Inspection, Layout, Step
from in_toto.models.link import Link
from in_toto.models.metadata import Metablock
from securesystemslib.keys import generate_ecdsa_key

package = sys.argv[1]
rebuilders = [generate_ecdsa_key(), generate_ecdsa_key()]
for name, months in (("root.layout", 24), ("expired.layout", -1)):
    layout = Layout()
    layout.set_relative_expiration(months=months)
    step = Step(name="rebuild")
    step.threshold = 2
    for key in rebuilders:
        layout.add_functionary_key({k: v if k != "keyval" else {"public": v["public"]} for k, v in key.items()})
        step.pubkeys.append(key["keyid"])
    step.add_product_rule_from_string("CREATE *.deb")
    step.add_product_rule_from_string("DISALLOW *.deb")
    check = Inspection(name="verify-reprobuilds")
    check.set_run_from_string("/usr/bin/true")
    check.add_material_rule_from_string("MATCH *.deb WITH PRODUCTS FROM rebuild")
    check.add_material_rule_from_string("DISALLOW *.deb")
    layout.steps, layout.inspect = [step], [check]
    Metablock(signed=layout).dump(name)
digest = hashlib.sha256(open(package, "rb").read()).hexdigest()
for key, name in zip(rebuilders, ("one.link", "two.link")):
    link = Metablock(signed=Link(name="rebuild", products={package: {"sha256": digest}}))
    link.sign(key)
    link.dump(name)
`

// transport configures apt-transport-in-toto, behind aptConf: directory of the methods, rebuilders, layout, its key, keyring.
const transport = `Dir::Bin::methods "%[3]s";
APT::Intoto { LogLevel {"20"}; Rebuilders { "%[4]s/one"; "%[4]s/two"; }; Layout {"%[5]s"}; Keyids { "%[6]s" }; GPGHomedir {"%[7]s"}; };
`

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

// signsForTransport: apt installs a package over apt-transport-in-toto after two rebuilders rebuilt it, as the layout says
// that the appliance signed; and refuses with a link fewer, another layout, an expired one, another key.
func signsForTransport(t *testing.T, d *desk) {
	dir := d.place(t)
	d.reprepro(t, dir, d.key)
	script := filepath.Join(dir, "rebuilt.py")
	must(t, os.WriteFile(script, []byte(rebuilt), 0o755))
	works := func(argv ...string) {
		t.Helper()
		_, err := d.inToto(t, dir, argv...)
		must(t, err)
	}
	works("./rebuilt.py", "hello_1.0_all.deb")
	for _, l := range []string{"root.layout", "expired.layout"} {
		works("in-toto-sign", "-f", l, "-g", d.meta)
	}
	d.showed(t, "in-toto layout", "rebuild", "2 of 2", "verify-reprobuilds")
	forged := filepath.Join(dir, "forged.layout")
	must(t, copyFile(forged, filepath.Join(dir, "root.layout")))
	change(t, forged, `"threshold": 2`, `"threshold": 1`)

	web := http.NewServeMux()
	web.Handle("/debian/", http.StripPrefix("/debian/", http.FileServer(http.Dir(dir))))
	for _, who := range []string{"one", "two"} {
		web.HandleFunc("/"+who+"/sources/hello/1.0/metadata", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(dir, who+".link")) })
	}
	server := httptest.NewServer(web)
	defer server.Close()
	conf := d.apt(t, "client", server.URL+"/debian stable", "", "update")
	d.works(t, dir, conf...)
	client, methods := filepath.Join(dir, "client"), d.methods(t, dir)
	// From here on over the transport, which apt finds the same lists for.
	list := filepath.Join(client, "sources.list")
	text, err := os.ReadFile(list)
	must(t, err)
	must(t, os.WriteFile(list, []byte(strings.Replace(string(text), "http:", "intoto:", 1)), 0o644))
	installs := func(layout, key string) (string, error) {
		text := fmt.Sprintf(aptConf+transport, client, "", methods, server.URL, filepath.Join(dir, layout), key, d.gpg.Home)
		must(t, os.WriteFile(filepath.Join(client, "apt.conf"), []byte(text), 0o644))
		return d.run(t, dir, asRoot(append(conf[:3:3], "-y", "install", "hello")...)...)
	}
	refuses := func(what, layout, key, words string) {
		t.Helper()
		if out, err := installs(layout, key); err == nil || !strings.Contains(out, words) {
			t.Errorf("%s: %v, want a refusal with %q\n%s", what, err, words, out)
		}
	}
	refuses("a changed layout", "forged.layout", d.meta, "In-toto verification")
	refuses("an expired layout", "expired.layout", d.meta, "expired")
	refuses("another key", "root.layout", d.key, "In-toto verification")
	two := filepath.Join(dir, "two.link")
	must(t, os.Rename(two, two+".away"))
	refuses("a link fewer", "root.layout", d.meta, "In-toto verification")
	must(t, os.Rename(two+".away", two))
	out, err := installs("root.layout", d.meta)
	if status, read := os.ReadFile(filepath.Join(client, "root/var/lib/dpkg/status")); err != nil || read != nil || !strings.Contains(string(status), "Status: install ok installed") {
		t.Errorf("%v\n%s\n%s", err, out, status)
	}
}
