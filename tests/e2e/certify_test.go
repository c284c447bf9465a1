package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/consumers"
	"touchmark/tests/world"
)

// certOrder hands a cert order over, has the operator arm it, and waits for the token to ask for its touch.
func (r *rig) certOrder(note string) (id string, mark int) {
	r.t.Helper()
	mark = r.Views().Mark()
	r.client(api.OK, "order", "submit", note)
	v, mark, err := r.Views().Wait(r.ctx, mark, func(v operator.View) bool { return v.Order != nil && v.Ask == operator.AskArm })
	r.must(err)
	if len(v.Order.Lines) != 3 {
		r.t.Errorf("it shows %q", v.Order.Lines)
	}
	r.must(r.Operator("arm " + v.Order.ID))
	r.must(r.Token.Await(r.ctx))
	return v.Order.ID, mark
}

// certified waits for the end of a cert order.
func (r *rig) certified(mark int, event, message string) {
	r.t.Helper()
	v, _, err := r.Views().Wait(r.ctx, mark, func(v operator.View) bool { return v.Event == "order-done" || v.Event == "order-dropped" })
	r.must(err)
	if v.Event != event || !strings.Contains(v.Message, message) {
		r.t.Fatalf("%s: %s, want %s: %s", v.Event, v.Message, event, message)
	}
}

// certifies does what a cert order says, whole.
func (r *rig) certifies(note, message string) {
	r.t.Helper()
	_, mark := r.certOrder(note)
	r.must(r.Token.Do(r.ctx, "touch"))
	r.certified(mark, "order-done", message)
}

// certificate is what the auditor makes of the published log, as gpg imports it.
func (r *rig) certificate() (gpg *consumers.GPG, path string) {
	r.t.Helper()
	r.client(api.OK, "publish")
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", "certificate", r.Mirror, "--trust", r.Trust)
	r.must(err)
	if res.Code != 0 {
		r.t.Fatalf("exit code %d: %s", res.Code, res.Stderr)
	}
	dir := r.t.TempDir()
	path = filepath.Join(dir, "packages.asc")
	r.must(os.WriteFile(path, []byte(res.Stdout), 0o644))
	gpg, err = consumers.NewGPG(r.ctx, new(bytes.Buffer), filepath.Join(dir, "gnupg"), path)
	r.must(err)
	return gpg, path
}

// A certificate is renewed and then revoked by the administrators' orders: gpg and sqv believe what the auditor prints of
// the log, of files signed before and behind; the token asks for each touch, and a touch that does not come, is denied or
// is cut off leaves the certificate as it was.
func TestCertificateOrders(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	before, behind := r.file("before", 100), r.file("behind", 100)
	r.sign(nil, before)

	_, mark := r.certOrder(r.order("cert", "--key", "packages", "--renew", "never"))
	r.must(r.Token.Expire(r.ctx))
	r.certified(mark, "order-dropped", "No touch was seen in time")
	id, mark := r.certOrder(r.order("cert", "--key", "packages", "--renew", "2099-01-01T00:00:00Z"))
	r.must(r.Operator("deny " + id))
	_, mark, err := r.Views().Wait(r.ctx, mark, asks(operator.AskNoTouch))
	r.must(err)
	r.must(r.Token.Do(r.ctx, "touch"))
	r.certified(mark, "order-dropped", "destroyed")
	_, _ = r.certOrder(r.order("cert", "--key", "packages", "--revoke", "2"))
	r.KillAppliance()
	greeted := r.Hostd().Log.Mark()
	r.must(r.StartAppliance(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, greeted, "log verified"))

	expires := time.Now().UTC().Truncate(time.Second).AddDate(2, 0, 0)
	r.certifies(r.order("cert", "--key", "packages", "--renew", expires.Format(time.RFC3339)), "expires at "+expires.Format(time.RFC3339))
	r.sign(nil, behind)
	gpg, cert := r.certificate()
	key, err := gpg.Primary(r.ctx)
	r.must(err)
	if key.Expires != strconv.FormatInt(expires.Unix(), 10) || key.Validity == "r" {
		t.Errorf("gpg lists %+v, want expiry %d", key, expires.Unix())
	}
	for _, f := range []string{before, behind} {
		r.must(gpg.Verify(r.ctx, f+".sig", f))
		r.must(consumers.SQV(r.ctx, new(bytes.Buffer), cert, f+".sig", f))
	}

	r.certifies(r.order("cert", "--key", "packages", "--revoke", "3"), "revoked")
	third := r.file("third", 100)
	r.oneLine(r.client(api.Refused, "sign", third), "key-revoked")
	r.unsigned(third)
	gpg, _ = r.certificate()
	if key, err := gpg.Primary(r.ctx); err != nil || key.Validity != "r" {
		t.Errorf("gpg lists %+v, %v, want a revoked key", key, err)
	}
	r.StopAppliance()
	greeted = r.Hostd().Log.Mark()
	r.must(r.StartAppliance(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, greeted, "log verified"))
	r.oneLine(r.client(api.Refused, "sign", third), "key-revoked")
	p := r.clean()
	for _, code := range []string{"certificate-renewed", "certificate-revoked", "maybe-signed"} {
		if !p.has(code) {
			t.Errorf("the auditor does not tell %s: %+v", code, p.Findings)
		}
	}
}
