package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// shellBlock is the one block of shell lines in a page of docs/image.
func shellBlock(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "image", page))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\n```sh\n(.*?)```\n").FindAllSubmatch(text, -1)
	if len(m) != 1 {
		t.Fatalf("%s has %d blocks of shell lines", page, len(m))
	}
	return string(m[0][1])
}

// sh runs shell lines in which touchmark-appliance is the one under test.
func (r *rig) sh(lines string, env ...string) {
	r.t.Helper()
	bin := r.t.TempDir()
	program, err := filepath.Abs(filepath.Join(binDir(r.t), "touchmark-appliance-emulated"))
	r.must(err)
	r.must(os.Symlink(program, filepath.Join(bin, "touchmark-appliance")))
	c := exec.CommandContext(r.ctx, "sh", "-euc", lines)
	c.Env = append(os.Environ(), append(env, "PATH="+bin+":"+os.Getenv("PATH"))...)
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("%v:\n%s%s", err, lines, out)
	}
}

// A board whose card is lost gets its log key from the administrators' backup and its log from the host's mirror, by the
// lines of docs/image/recovery.md.
func TestNewCard(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.works()
	r.works()
	r.client(api.OK, "publish")
	r.StopAppliance()
	r.must(os.RemoveAll(r.Board))
	r.sh(shellBlock(t, "recovery.md"), "LOG="+r.Mirror, "BOARD="+r.Board, "BACKUP="+filepath.Join(r.Trust, "log.key.age"), "IDENTITY="+r.Identity())
	r.heals("head-")
}
