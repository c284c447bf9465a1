package hostd

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

// leftoverFile names, one a line, the jobs that the board may have on display
// and that nobody here waits for any more once the daemon is gone. They are
// withdrawn at the next occasion, so that no operator arms them. Losing the
// file in a power cut costs no more than a job that nobody collects: it is
// written without waiting for the disk.
const leftoverFile = "unfinished"

// maxLeftovers bounds the file; the board holds fewer.
const maxLeftovers = 64

func loadLeftovers(state string) ([]message.JobID, error) {
	b, err := api.ReadSmall(filepath.Join(state, leftoverFile), maxLeftovers*65)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var out []message.JobID
	for line := range strings.Lines(string(b)) {
		if id, err := message.ParseJobID(strings.TrimSuffix(line, "\n")); err == nil {
			out = append(out, id)
		}
	}
	return out, nil
}

// remember writes down what the board may have of us.
func (d *Daemon) remember() {
	var b strings.Builder
	for _, id := range d.leftovers {
		b.WriteString(id.String() + "\n")
	}
	for _, j := range d.jobs {
		if j.ever {
			b.WriteString(j.id.String() + "\n")
		}
	}
	if b.String() == d.remembered {
		return
	}
	d.remembered = b.String()
	if err := durable.Replace(filepath.Join(d.o.State, leftoverFile), []byte(b.String()), 0o600); err != nil {
		d.log.Warn().Err(err).Msg("unfinished jobs not written down")
	}
}

// leave notes a job that ends here while the board may still show it.
func (d *Daemon) leave(j *job) {
	if len(d.leftovers) == maxLeftovers {
		d.leftovers = slices.Delete(d.leftovers, 0, 1)
	}
	d.leftovers = append(d.leftovers, j.id)
}

// withdrawLeftovers cancels them. The board ignores what it does not have, and
// what is armed already goes its way into the log.
func (d *Daemon) withdrawLeftovers() {
	for _, id := range d.leftovers {
		if n, err := d.cancelNote(id, time.Time{}); err == nil {
			d.log.Info().Str("job", id.String()).Msg("withdrawing a job that nobody waits for")
			d.send(n)
		}
	}
	d.leftovers = nil
	d.remember()
}

// cancelNote withdraws a job that was submitted at asked, if that is known: the
// board puts both in order by host time, even if this host's clock went back.
func (d *Daemon) cancelNote(id message.JobID, asked time.Time) ([]byte, error) {
	c := message.Cancel{Origin: d.o.Trust.Origin, Job: id, HostTime: d.now()}
	if c.HostTime.Before(asked) {
		c.HostTime = asked
	}
	return d.signed(c.Marshal())
}
