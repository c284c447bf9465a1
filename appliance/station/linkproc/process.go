// Package linkproc runs the process that parses the wire, touchmark-link, and
// writes to it.
package linkproc

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"touchmark/hostlink/linkpipe"
)

// process is a touchmark-link child: the only process that touches the serial
// line and the first that sees what comes over it. It inherits two pipes and
// nothing else; when core dies, its end of the pipe closes and it ends.
type process struct {
	*linkpipe.Conn
	cmd  *exec.Cmd
	in   io.Closer
	once sync.Once
}

// Start starts the link program for a serial device. Close ends it.
func Start(_ context.Context, program, device string, baud int, log zerolog.Logger) (Link, error) {
	cmd := exec.Command(program, "--device", device, "--baud", strconv.Itoa(baud))
	cmd.Env = []string{}
	cmd.Stderr = lineLogger{log.Sample(&zerolog.BurstSampler{Burst: logBurst, Period: logPeriod})}
	cmd.WaitDelay = flush // a child of its own may hold stderr open
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the link process: %w", err)
	}
	return &process{Conn: linkpipe.NewConn(out, in), cmd: cmd, in: in}, nil
}

// Close closes the pipes, on which the process ends by itself, and kills it if
// it does not.
func (p *process) Close() error {
	p.once.Do(func() {
		late := time.AfterFunc(flush, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		_ = p.in.Close()
		_ = p.cmd.Wait()
	})
	return nil
}

// lineLogger passes what the link process says on stderr (a crash, usually)
// into the log, bounded per write.
type lineLogger struct{ log zerolog.Logger }

func (l lineLogger) Write(b []byte) (int, error) {
	l.log.Warn().Str("link", string(b[:min(len(b), 4096)])).Send()
	return len(b), nil
}
