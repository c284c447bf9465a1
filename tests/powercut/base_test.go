package powercut

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// The worlds that runs begin in.
const (
	blank  = "blank"  // nothing is enrolled
	usual  = "usual"  // enrolled, a ceremony behind it; orders are written
	behind = "behind" // its disk lost the end of the log, the host has it
	lost   = "lost"   // nobody has it; the order to resume is written
)

// bases makes the worlds; each run begins with a copy of one.
func bases(t *testing.T) map[string]string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(binDir(), "touchmark-appliance-emulated")); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	all := map[string]string{blank: t.TempDir(), usual: t.TempDir()}
	made(t, all[usual], (*run).first)
	for name, make := range map[string]func(*run) error{behind: (*run).forget, lost: (*run).forgetEverywhere} {
		all[name] = t.TempDir()
		ok(t, os.CopyFS(all[name], os.DirFS(all[usual])))
		made(t, all[name], make)
	}
	return all
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// made does something in the world of a directory and switches it off.
func made(t *testing.T, dir string, do func(*run) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := world.New(ctx, world.Config{Dir: dir, Bin: binDir(), Touch: "auto"})
	ok(t, err)
	r := &run{World: w, ctx: ctx, work: t.TempDir()}
	err = do(r)
	ok(t, errors.Join(err, w.Close()))
	if err := os.RemoveAll(w.Sockets); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func (r *run) first() error {
	if err := errors.Join(r.Enrol(r.ctx), r.restarted()); err != nil {
		return err
	}
	if code, err := r.sign("first"); err != nil || code != api.OK {
		return fmt.Errorf("first ceremony: %d, %w", code, err)
	}
	for _, write := range []func() error{r.publish, r.writePolicy, r.writeKey, func() error { return r.writeOrder("note") }, func() error { return r.writeOrder("close") }} {
		if err := write(); err != nil {
			return err
		}
	}
	r.StopHostd()
	r.StopAppliance()
	return nil
}

// must runs a program that has to succeed.
func (r *run) must(name string, args ...string) (string, error) {
	res, err := r.Run(r.ctx, r.work, name, args...)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("%s %v: exit code %d\n%s%s", name, args, res.Code, res.Stdout, res.Stderr)
	}
	return res.Stdout, err
}

func (r *run) publish() error {
	_, err := r.must("touchmark", "publish")
	return err
}

// note is where a signed order is.
func (r *run) note(kind string) string { return filepath.Join(r.Admins, kind+".note") }

func (r *run) writeOrder(kind string, flags ...string) error {
	text := filepath.Join(r.work, kind+".order")
	if err := os.Remove(text); err != nil && !errors.Is(err, fs.ErrNotExist) { // one of before
		return err
	}
	args := []string{"order", "new", kind, "--checkpoint", filepath.Join(r.Mirror, "checkpoint"), "--reason", "a test", "--out", text}
	if _, err := r.must("touchmark", append(args, flags...)...); err != nil {
		return err
	}
	_, err := r.must("touchmark", "order", "sign", "--key", r.Key("admin1"), "--out", r.note(kind), text)
	return err
}

func (r *run) writePolicy() error {
	text, err := os.ReadFile(filepath.Join(r.Host, "policy.toml"))
	if err != nil {
		return err
	}
	said, err := r.must("touchmark", "policy", "check", "--json", filepath.Join(r.Host, "policy.note"))
	if err != nil {
		return err
	}
	hash := regexp.MustCompile(`"hash": ?"([0-9a-f]{64})"`).FindStringSubmatch(said)
	if hash == nil {
		return fmt.Errorf("touchmark policy check: %s", said)
	}
	next := strings.NewReplacer(`previous = ""`, `previous = "`+hash[1]+`"`, "serial = 1", "serial = 2", `max_skew = "10m"`, `max_skew = "11m"`).Replace(string(text))
	path := filepath.Join(r.work, "next.toml")
	if err := os.WriteFile(path, []byte(next), 0o644); err != nil {
		return err
	}
	_, err = r.must("touchmark", "policy", "sign", "--key", r.Key("admin1"), "--out", r.note("policy"), path)
	return err
}

// forget puts an older log on the board's disk.
func (r *run) forget() error { return r.forgetIn(filepath.Join(r.Board, "log")) }

// forgetIn has a signature made, and forgotten in some directories.
func (r *run) forgetIn(dirs ...string) error {
	old := filepath.Join(r.work, "old")
	for i, d := range dirs {
		if err := os.CopyFS(filepath.Join(old, fmt.Sprint(i)), os.DirFS(d)); err != nil {
			return err
		}
	}
	if err := r.restarted(); err != nil {
		return err
	}
	if code, err := r.sign("forgotten"); err != nil || code != api.OK {
		return fmt.Errorf("%d, %w", code, err)
	}
	r.StopHostd()
	r.StopAppliance()
	for i, d := range dirs {
		if err := errors.Join(os.RemoveAll(d), os.CopyFS(d, os.DirFS(filepath.Join(old, fmt.Sprint(i))))); err != nil {
			return err
		}
	}
	return nil
}

var haltedAt = regexp.MustCompile(`(head-[a-z]+):.*HEAD ([0-9a-f]{64}), PCR ([0-9a-f]{64})`)

// forgetEverywhere does so at the host as well, and writes the order that leads
// out of it.
func (r *run) forgetEverywhere() error {
	if err := r.forgetIn(filepath.Join(r.Board, "log"), filepath.Join(r.Host, "mirror"), r.Mirror); err != nil {
		return err
	}
	why, err := r.halts()
	if err != nil {
		return err
	}
	at := haltedAt.FindStringSubmatch(why)
	if at == nil {
		return fmt.Errorf("halted with %q", why)
	}
	// A power cut comes before each run: the PCR is zero then.
	err = r.writeOrder("resume", "--halt", at[1], "--head", at[2], "--pcr", at[3])
	r.StopAppliance()
	return err
}

// halts starts a board that halts and answers what its display says.
func (r *run) halts() (why string, err error) {
	err = r.StartAppliance(r.ctx)
	var halted *world.HaltedError
	if errors.As(err, &halted) {
		return halted.Why, nil
	}
	return "", errors.Join(errors.New("it does not halt"), err)
}
