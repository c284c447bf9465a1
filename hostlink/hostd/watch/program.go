package watch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// program runs a program of the administrator's. When ctx ends it is asked to end, with its children; what is left of them
// after grace is killed. The error has what it said last.
func program(ctx context.Context, argv, env []string, grace time.Duration) error {
	cmd, said := exec.CommandContext(ctx, argv[0], argv[1:]...), new(tail)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // nobody may be left
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, lastLine(said.kept))
	}
	return nil
}

// tailSize is how much is kept of what a program says: more than lastLine takes.
const tailSize = 1 << 10

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-tailSize):]...)
	t.kept = t.kept[max(0, len(t.kept)-tailSize):]
	return len(p), nil
}

// lastLine is what a program said at its end, as far as a line of a log holds it.
func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	return strings.ToValidUTF8(last[:min(len(last), 300)], "")
}
