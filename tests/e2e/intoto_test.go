package e2e

import (
	"os"
	"path/filepath"
	"strings"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
)

// intoPlace has a command of touchmark intoto sign: what comes of it stands in its file, and verifies there.
func (r *rig) intoPlace(file string, words ...string) operator.View {
	r.t.Helper()
	last := len(words) - 1
	s := r.asking(append([]string{"intoto"}, words[:last]...), words[last])
	v := s.view(asks(operator.AskArm))
	r.must(r.Operator("arm " + v.Job.ID))
	s.touch().end(api.OK)
	r.client(api.OK, "verify", "--sig", file, file)
	if _, err := os.Lstat(file + ".sig"); err == nil {
		r.t.Errorf("%s.sig was written", file)
	}
	return v
}

// rebuiltByTwo: a layout of our own commands, whose rebuilders are the board and somebody with a gpg key. in-toto-verify
// takes a package with the links of both; with one of them, or another package, it does not. The layout is renewed, signed
// anew, and is taken again. layoutKey signs layouts, links of the board are by the native key in linkKey.
func (r *rig) rebuiltByTwo(home, layoutKey, other, linkKey, linkID string) {
	r.t.Helper()
	at := func(name string) string { return filepath.Join(r.work, name) }
	if out, err := r.judge("", "gpg", "--homedir", home, "--output", at("other.asc"), "--armor", "--export", other); err != nil {
		r.t.Fatalf("gpg: %v\n%s", err, out)
	}
	r.client(api.OK, "intoto", "layout", "new", "--rebuilder", r.text("board.pub", linkKey), "--rebuilder", at("other.asc"), "--out", at("rebuild.layout"))
	r.means(r.intoPlace(at("rebuild.layout"), "layout", "sign", "rebuild.layout"), "needs 2 of 2 keys", linkID, strings.ToLower(other), "verify-rebuild")

	deb, mine := r.text("hello_1.0_all.deb", "a package"), at("rebuild."+linkID+".link")
	r.means(r.intoPlace(mine, "link", "--format", "in-toto-native", "--class", "links", "--key", linkID, "hello_1.0_all.deb"), "link of step rebuild", "hello_1.0_all.deb")
	theirs := at("rebuild." + strings.ToLower(other[:8]) + ".link")
	if out, err := r.judge("", "in-toto-run", "-n", "rebuild", "-p", "hello_1.0_all.deb", "--no-command", "--base-path", r.work, "--metadata-directory", r.work, "--gpg", other, "--gpg-home", home); err != nil {
		r.t.Fatalf("in-toto-run: %v\n%s", err, out)
	}
	takes := func(what string, want bool) {
		r.t.Helper()
		if out, err := r.verifies(at("rebuild.layout"), home, layoutKey); (err == nil) != want {
			r.t.Errorf("in-toto-verify, %s: %v\n%s", what, err, out)
		}
	}
	takes("two links", true)
	r.must(os.Rename(theirs, theirs+".away"))
	takes("one link", false)
	r.must(os.Rename(theirs+".away", theirs))
	r.must(os.WriteFile(deb, []byte("another package"), 0o644))
	takes("another package", false)
	r.must(os.WriteFile(deb, []byte("a package"), 0o644))

	r.client(api.Lapsing, "intoto", "resign-due", "--days", "800", "--expires", "2036-01-01T00:00:00Z", "--out", "renewed", "rebuild.layout")
	r.means(r.intoPlace(at("renewed/rebuild.layout"), "layout", "sign", "renewed/rebuild.layout"), "expires 2036-01-01T00:00:00Z", "needs 2 of 2 keys")
	r.must(os.Rename(at("renewed/rebuild.layout"), at("rebuild.layout")))
	takes("a renewed layout", true)
}
