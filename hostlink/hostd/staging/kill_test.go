package staging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"touchmark/hostlink/hostd/round"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

func socketAt(t *testing.T, path string) {
	t.Helper()
	dir, err := os.Getwd()
	must(t, err)
	t.Cleanup(func() { must(t, os.Chdir(dir)) })
	must(t, os.Chdir(filepath.Dir(path))) // the path may be longer than a socket's may be
	l, err := net.Listen("unix", filepath.Base(path))
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
}

// publisherEnv has this test binary be the program that is killed: "N DIR".
const publisherEnv = "TOUCHMARK_TEST_PUBLISHER"

func TestMain(m *testing.M) {
	if job := os.Getenv(publisherEnv); job != "" {
		publisher(job)
		return
	}
	os.Exit(m.Run())
}

// wanted is what the publisher keeps on disk, as its real driver does.
type wanted struct {
	Number uint64
	Items  []round.Item
}

const snapshots = 2

// publisher goes on with what it finds, publishes up to two snapshots, and kills itself at step N.
func publisher(job string) {
	left, dir, _ := strings.Cut(job, " ")
	kill, err := strconv.Atoi(left)
	check(err)
	r := pacmanRepository(dir)
	r.step = func(string) {
		if kill--; kill == 0 {
			check(syscall.Kill(os.Getpid(), syscall.SIGKILL))
		}
	}
	keep := filepath.Join(dir, "wanted")
	var w wanted
	if b, err := os.ReadFile(keep); err == nil {
		check(json.Unmarshal(b, &w))
		check(r.Publish(w.Number, w.Items, fakeSignature))
		check(r.Keep([]uint64{w.Number}))
	}
	check(r.Unlock())
	for w.Number < snapshots {
		w.Number++
		stageForKill(r, w.Number)
		w.Items, _, err = r.Snapshot(w.Number)
		check(err)
		b, err := json.Marshal(w)
		check(err)
		check(durable.WriteFile(keep, b, 0o600))
		check(r.Publish(w.Number, w.Items, fakeSignature))
		check(r.Keep([]uint64{w.Number}))
	}
}

func stageForKill(r *Repository, v uint64) {
	check(os.MkdirAll(r.Dir, 0o755))
	for _, name := range []string{"db", "files"} {
		path := filepath.Join(r.Dir, "core."+name+".tar.gz")
		check(os.WriteFile(path+".new", bytes.Repeat([]byte(fmt.Sprint(name, v)), 1000), 0o644))
		check(os.Rename(path+".new", path))
		if err := os.Symlink("core."+name+".tar.gz", filepath.Join(r.Dir, "core."+name)); !errors.Is(err, os.ErrExist) {
			check(err)
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// TestKilledAtEveryStep publishes one snapshot after the other, with a kill at each step of it, while a client looks all
// the time: whoever opens the directory finds database, files, links and signatures of one snapshot in it, always.
func TestKilledAtEveryStep(t *testing.T) {
	dir := disktest.QuickDir(t)
	r := pacmanRepository(dir)
	stageForKill(r, 0)
	must(t, os.MkdirAll(filepath.Dir(r.Into), 0o755))
	must(t, r.Publish(1, snapshot(t, r, 1), fakeSignature))
	must(t, os.RemoveAll(r.base()))
	stop := make(chan struct{})
	looks := 0
	var client sync.WaitGroup
	client.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := lookOnce(r); err != nil {
				t.Error(err)
				return
			}
			looks++
		}
	})
	kills := 0
	for n := 1; ; n++ {
		must(t, os.RemoveAll(filepath.Join(dir, "wanted")))
		killed := run(t, n, dir)
		if !killed {
			break
		}
		kills++
		if run(t, 0, dir) {
			t.Fatal("killed by whom?")
		}
		if at, err := r.Published(); err != nil || at != snapshots {
			t.Fatalf("after a kill at step %d: %d, %v", n, at, err)
		}
		if left, err := os.ReadDir(r.base()); err != nil || len(left) > 1 {
			t.Fatalf("after a kill at step %d these are left: %v, %v", n, left, err)
		}
	}
	close(stop)
	client.Wait()
	if kills < 9*snapshots || looks == 0 {
		t.Errorf("%d kills, %d looks", kills, looks)
	}
	t.Logf("%d kills, %d looks", kills, looks)
}

// run runs the publisher to its end, or to its kill.
func run(t *testing.T, kill int, dir string) (killed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", publisherEnv, kill, dir))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return true
	}
	t.Fatalf("%v: %s", err, out)
	return false
}

// lookOnce is one look of a client that opens the directory and reads in it, as rsync does.
func lookOnce(r *Repository) error {
	root, err := os.OpenRoot(r.Into)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	err = readPair(root)
	if gone(err) && tooLate(r, root) {
		return nil
	}
	return err
}

// gone reports whether a file was not there: os.Root says ELOOP of a symbolic link that is removed between its opening and
// its reading.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ELOOP)
}

func readPair(root *os.Root) error {
	number := ""
	for _, name := range []string{"core.db", "core.files"} {
		data, err := readIn(root, name)
		if err != nil {
			return err
		}
		sig, err := readIn(root, name+".sig")
		if err != nil {
			return err
		}
		want, _, err := StateOf(itemOf(data))
		if err != nil || want.String() != string(sig) {
			return fmt.Errorf("%s is signed by %s: %v", name, sig, err)
		}
		if number != "" && !bytes.HasPrefix(data, []byte("files"+number)) {
			return fmt.Errorf("files of another snapshot than the database's, which is %s", number)
		}
		number = strings.TrimPrefix(string(data[:3]), "db")
	}
	return nil
}

func readIn(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(f)
}

// itemOf is what a file's content makes of it.
func itemOf(data []byte) round.Item {
	r := pacmanRepository("")
	hashes, all := artifact{name: "x", sign: []*Sign{&r.Sign[0]}}.hashes()
	_, _ = all.Write(data) // hashes take everything
	it, _ := hashes[0].item("x", &r.Sign[0])
	return it
}

// tooLate reports whether a client's directory is neither the published one nor the one before: two publications went by
// while it read.
func tooLate(r *Repository, root *os.Root) bool {
	mine, err := root.Stat(".")
	if err != nil {
		return true
	}
	for _, dir := range []string{r.Into, r.old()} {
		if st, err := os.Stat(dir); err == nil && os.SameFile(st, mine) {
			return false
		}
	}
	return true
}
