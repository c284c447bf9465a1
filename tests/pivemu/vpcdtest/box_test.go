package vpcdtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"touchmark/tests/pivemu/front"
)

// TestBox: the reader is seen from inside, and from outside by those that are
// told where; a second box beside it has a reader of its own; nothing is left
// when it closes, whatever was killed in it.
func TestBox(t *testing.T) {
	needTools(t, "opensc-tool", "nsenter")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir := shortDir(t)
	for round, profile := range []string{"5.4.3", "5.7.1"} { // the second finds what the first left
		b, err := Open(ctx, Options{Dir: dir, Profile: profile, State: dir + "/" + profile})
		if err != nil {
			t.Fatal(err)
		}
		inside := b.Command(ctx, dir, "sh", "-c", `opensc-tool -l && [ "$PWD" = "`+dir+`" ] && sleep 1000 >/dev/null 2>&1 & wait; exit 7`)
		var out bytes.Buffer
		inside.Stdout, inside.Stderr = &out, &out
		if err := inside.Start(); err != nil {
			t.Fatal(err)
		}
		if round == 1 { // a pcscd that is killed leaves its files
			kill := b.Command(ctx, dir, "sh", "-c", `kill -9 $(cat /run/pcscd/pcscd.pid)`)
			if out, err := kill.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		} else {
			outside := exec.CommandContext(ctx, "opensc-tool", "--list-readers")
			outside.Env = append(os.Environ(), b.Environ()...)
			if list, err := outside.CombinedOutput(); err != nil || !strings.Contains(string(list), Reader) {
				t.Errorf("from outside: %v, %s", err, list)
			}
		}
		if status, err := front.Ask(ctx, b.Control(), "status"); err != nil || !strings.Contains(status, "firmware="+profile) {
			t.Errorf("%q, %v", status, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := inside.Wait(); err == nil {
			t.Error("what ran inside outlived the box")
		}
	}
}

func TestOpenTellsWhy(t *testing.T) {
	_, err := Open(context.Background(), Options{Dir: t.TempDir(), Profile: "1.0"})
	if err == nil || !strings.Contains(err.Error(), `no firmware profile "1.0"`) {
		t.Errorf("%v", err)
	}
	if _, err := Open(context.Background(), Options{Dir: "relative"}); err == nil {
		t.Error("a relative directory")
	}
}
