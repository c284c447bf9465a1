package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tests/world"
)

// people are approvers, each with a key on a machine of their own.
type people map[string]string // name → path of the private key

// newPeople makes keys and the tables of a policy that names their owners.
func newPeople(t *testing.T, names ...string) (people, string) {
	t.Helper()
	dir, p, tables := t.TempDir(), people{}, ""
	for _, name := range names {
		private, public, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			t.Fatal(err)
		}
		p[name] = filepath.Join(dir, name+".key")
		if err := os.WriteFile(p[name], []byte(private+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		tables += fmt.Sprintf("\n[[approver]]\nperson = %q\nkey = %q\n", name, public)
	}
	return p, tables
}

// approve has one of them approve a request with a copy; the approval's path.
func (r *rig) approve(code int, key, request, copied string) (approval string, said world.Result) {
	r.t.Helper()
	approval = filepath.Join(r.t.TempDir(), "approval")
	return approval, r.client(code, "approve", "--key", key, "--class", "package", "--out", approval, request, copied)
}

// jobOf is the job that a request for approval is about.
func (r *rig) jobOf(request string) string {
	r.t.Helper()
	raw, err := os.ReadFile(request)
	r.must(err)
	text, err := message.NoteText(raw)
	r.must(err)
	return message.JobOf(text).String()
}

// A host that was taken over asks for a signature over something else than what the approvers have: nobody approves it,
// and nothing that it collects itself brings it onto the display. What they do have is signed once two of three approved,
// over a restart of the daemon, and the operator sees who did.
func TestApprovals(t *testing.T) {
	t.Parallel()
	who, tables := newPeople(t, "alice", "bob", "carol", "mallory")
	tables = tables[:strings.LastIndex(tables, "\n[[approver]]")] // mallory is none
	r := up(t, world.Config{Policy: func(toml string) string {
		return strings.Replace(toml, "rates = [\"600/1h\"]\napprovals = 0", "rates = [\"600/1h\"]\napprovals = 2", 1) + tables
	}})
	file := r.file("hello-1-1-any.pkg.tar.zst", 5000)
	good, err := os.ReadFile(file)
	r.must(err)
	own := filepath.Join(t.TempDir(), filepath.Base(file))
	r.must(os.WriteFile(own, good, 0o644))

	// The host's file is not what it was built from.
	r.must(os.WriteFile(file, append(slices.Clone(good), "and a back door"...), 0o644))
	evil := filepath.Join(r.work, "evil.request")
	r.client(api.OK, "approvals", "request", "--class", "package", "--timeout", "1h", "--out", evil, file)
	_, said := r.approve(api.Evidence, who["alice"], evil, own)
	r.oneLine(said, "differs from what the host wants signed", "DO NOT APPROVE")
	forged, _ := r.approve(api.OK, who["mallory"], evil, file) // the host has a key, and this file
	r.oneLine(r.client(api.Refused, "approvals", "add", forged), "unknown-approver")
	r.oneLine(r.client(api.BadInput, "approvals", "add", evil), "nobody has signed this")
	r.client(api.OK, "approvals", "withdraw", r.jobOf(evil))

	// What they have is.
	r.must(os.WriteFile(file, good, 0o644))
	request := filepath.Join(r.work, "good.request")
	r.client(api.OK, "approvals", "request", "--class", "package", "--timeout", "1h", "--out", request, file)
	first, _ := r.approve(api.OK, who["alice"], request, own)
	r.client(api.OK, "approvals", "add", first)
	r.StopHostd()
	r.must(r.StartHostd(r.ctx))
	s := r.ask([]string{"--class", "package"}, file)
	second, _ := r.approve(api.OK, who["carol"], request, own)
	r.client(api.OK, "approvals", "add", second)
	v := s.view(asks(operator.AskArm))
	if !slices.Equal(v.Job.Approvers, []string{"alice", "carol"}) {
		t.Errorf("the display names %q", v.Job.Approvers)
	}
	r.must(r.Operator("arm " + v.Job.ID))
	s.touch().end(api.OK)
	r.verified(file)
	r.consumers(file)
	r.oneLine(r.client(api.BadInput, "approvals", "add", second), "does not wait here")
	r.clean()
}
