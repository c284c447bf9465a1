package powercut

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"touchmark/hostlink/hostd/api"
)

// roundRule watches a repository beside the other directories of the world.
const roundRule = `
[[watch]]
rule   = "repo"
class  = "anything"
dir    = "../repo/staging"
into   = "../repo/www"
lock   = "lck"
always = true

[[watch.sign]]
file = "db"

[[watch.sign]]
file = "files"
`

// notOfRounds are the directories that have nothing to do with rounds: those that do are the repository, the queue and
// the jobs that are kept. What the mirror and the published log do is another target's.
var notOfRounds = []string{"board", "tpm", "trust", "log", "run", "logs", "admins", "work", "calls", "host/mirror/mirror"}

// versions of the repository that a run publishes: the first makes the published directory, the second takes its place.
const versions = 2

func (r *run) inRepo(names ...string) string {
	return filepath.Join(append([]string{r.Dir, "repo"}, names...)...)
}

// stage puts a version of the repository where tools leave it, under their lock.
func (r *run) stage(version int) error {
	err := os.MkdirAll(r.inRepo("staging", "pool"), 0o755)
	if err == nil {
		err = r.locked()
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"pool/package", "db", "files"} {
		err = errors.Join(err, os.WriteFile(r.inRepo("staging", name+".part"), fmt.Appendf(nil, "%s of version %d", name, version), 0o644),
			os.Rename(r.inRepo("staging", name+".part"), r.inRepo("staging", name)))
	}
	return errors.Join(err, os.Remove(r.inRepo("staging", "lck")))
}

// locked takes the tools' lock. The daemon has it for a moment at a time; what one left that died the next removes.
func (r *run) locked() error {
	for r.ctx.Err() == nil {
		f, err := os.OpenFile(r.inRepo("staging", "lck"), os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("the lock stays: %w", r.ctx.Err())
}

// repository is a life in which two versions of a repository are signed and published in rounds.
func (r *run) repository() (said string, err error) {
	if err := r.stage(1); err != nil {
		return "", err
	}
	if said, err := r.rises(); said != "" || err != nil {
		return said, err
	}
	for version := 1; ; version++ {
		said, err := r.round()
		if err != nil || said != "" {
			return said, err
		}
		if version == versions {
			return r.state("exit code 0"), nil
		}
		if err := r.stage(version + 1); err != nil {
			return "", err
		}
	}
}

// round waits until what is staged is published. What fails is tried twice, as by somebody who
// was paged; what was said of it comes back, "" if it is published.
func (r *run) round() (said string, err error) {
	for range 2 {
		ctx, leave := r.attended()
		ctx, cancel := context.WithCancel(ctx)
		trouble := make(chan string, 1)
		mark := r.Hostd().Log.Mark()
		go func() {
			line, _, err := r.Hostd().Log.Wait(ctx, mark, troubled)
			if err == nil {
				cancel()
			}
			trouble <- line
		}()
		said, err = r.waits(ctx)
		cancel()
		leave()
		if line := <-trouble; said != "" && line != "" {
			said = line
		}
		if r.ctx.Err() != nil {
			return said, fmt.Errorf("the round hangs: %w", r.ctx.Err())
		}
		if said == "" || err != nil {
			return said, err
		}
		if dead(r.Hostd().Done()) {
			return r.Hostd().LogTail(), nil
		}
	}
	return said, nil
}

func dead(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// troubled is a line of the daemon's that says that something waits for somebody, or for better times.
func troubled(line string) bool {
	return strings.Contains(line, " ERR ") || strings.Contains(line, " WRN ") && strings.Contains(line, "a request ended")
}

// waits has what failed asked for again, and waits.
func (r *run) waits(ctx context.Context) (said string, err error) {
	for _, args := range [][]string{{"round", "open"}, {"round", "wait", "repo"}} {
		res, err := r.Run(ctx, r.work, "touchmark", args...)
		if ctx.Err() != nil {
			return "it was left", nil
		}
		if err != nil || res.Code != api.OK {
			return fmt.Sprintf("touchmark %v: %d: %s", args, res.Code, res.Stderr), err
		}
	}
	return "", nil
}

// published wants what clients find after a fault to be whole; and after a start without faults the newest version to be
// published, or to be published in the next round.
func (r *run) published() error {
	if err := r.whole(0); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	if err := r.restarted(); err != nil {
		return err
	}
	if err := r.stage(versions); err != nil {
		return err
	}
	if said, err := r.round(); said != "" || err != nil {
		return fmt.Errorf("after the fault: %s, %w", said, err)
	}
	if err := r.whole(versions); err != nil {
		return err
	}
	return r.works()
}

// whole wants the published directory to be one version, each signed file of it with its signature; 0 is any version, or
// none yet.
func (r *run) whole(version int) error {
	b, err := os.ReadFile(r.inRepo("www", "db"))
	if errors.Is(err, fs.ErrNotExist) && version == 0 {
		if _, err := os.Lstat(r.inRepo("www")); err == nil {
			return errors.New("a published directory without its files")
		}
		return nil
	}
	if err != nil {
		return err
	}
	if version == 0 {
		if _, err := fmt.Sscanf(string(b), "db of version %d", &version); err != nil {
			return fmt.Errorf("%q: %w", b, err)
		}
	}
	for _, name := range []string{"db", "files", "pool/package"} {
		b, err := os.ReadFile(r.inRepo("www", name))
		if err != nil || string(b) != fmt.Sprintf("%s of version %d", name, version) {
			return fmt.Errorf("published as %s of version %d: %q, %w", name, version, b, err)
		}
	}
	_, err = r.must("touchmark", "verify", "-q", r.inRepo("www", "db"), r.inRepo("www", "files"))
	return err
}
