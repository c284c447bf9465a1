// Package status keeps a copy of the display in a file, and has the command that shows
// it.
package status

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
	"touchmark/tpm/ledgerstore/durable"
)

const statusName = "status.json"

// File keeps a copy of the display in a file, because a board without
// sockets has no other way to be asked. It writes beside the ceremony, never in
// it, and only the newest view counts: one is written when it is statusAge old,
// with what came after it.
type File struct {
	path    string
	views   chan operator.View
	closing chan struct{}
	done    chan struct{}
}

// statusAge is how far the file is behind the display. A ceremony changes that half
// a dozen times within some milliseconds, and replacing a file may wait for the disk
// that the log waits for.
const statusAge = 100 * time.Millisecond

// New begins to keep it in a directory.
func New(runDir string) *File {
	f := &File{filepath.Join(runDir, statusName), make(chan operator.View, 1), make(chan struct{}), make(chan struct{})}
	go f.run()
	return f
}

func (f *File) run() {
	defer close(f.done)
	for v := range f.views {
		select {
		case <-time.After(statusAge):
		case <-f.closing:
		}
		select {
		case newer, open := <-f.views:
			if open {
				v = newer
			}
		default:
		}
		f.write(v)
	}
}

// Show replaces the view that is to be written. It is called by one goroutine.
func (f *File) Show(v operator.View) {
	select {
	case <-f.views:
	default:
	}
	f.views <- v
}

// Close waits for the last view to be written.
func (f *File) Close() {
	close(f.closing)
	close(f.views)
	<-f.done
}

// write replaces the file. A lost status is not worth stopping for, and it
// need not outlive the machine: no fsync, but never half a file.
func (f *File) write(v operator.View) {
	b, err := json.Marshal(v)
	if err == nil {
		_ = durable.Replace(f.path, append(b, '\n'), 0o600)
	}
}

// Command is status.
func Command() *cobra.Command {
	var dir, runDir string
	var asJSON bool
	c := &cobra.Command{
		Use:     "status --dir DIR",
		Short:   "What the running appliance shows its operator",
		Example: "  touchmark-appliance status --dir /data/touchmark --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if runDir == "" {
				runDir = filepath.Join(dir, "run")
			}
			return show(filepath.Join(runDir, statusName), asJSON)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "data directory")
	c.Flags().StringVar(&runDir, "run-dir", "", "where the status file is (default: DIR/run)")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cli.Required(c, "dir")
	return c
}

func show(path string, asJSON bool) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: %w: the appliance has not run with this directory", cli.ErrEnrolment, err)
	}
	if asJSON {
		_, err = os.Stdout.Write(raw)
		return err
	}
	var v operator.View
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, line := range screen.Text(v, 80) {
		fmt.Println(line)
	}
	return nil
}
