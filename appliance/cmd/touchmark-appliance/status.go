package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"touchmark/appliance/operator"
)

const statusFile = "status.json"

// statusWriter keeps a copy of the display in a file, because a board without
// sockets has no other way to be asked.
func statusWriter(runDir string) func(operator.View) {
	path := filepath.Join(runDir, statusFile)
	return func(v operator.View) {
		b, err := json.Marshal(v)
		if err == nil {
			// Lost status is not worth stopping for, and it need not outlive
			// the machine: no fsync, but never half a file.
			_ = os.WriteFile(path+".new", append(b, '\n'), 0o600)
			_ = os.Rename(path+".new", path)
		}
	}
}

func statusCommand() *cobra.Command {
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
			return status(filepath.Join(runDir, statusFile), asJSON)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "data directory")
	c.Flags().StringVar(&runDir, "run-dir", "", "where the status file is (default: DIR/run)")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	required(c, "dir")
	return c
}

func status(path string, asJSON bool) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: the appliance has not run with this directory", err)
	}
	if asJSON {
		_, err = os.Stdout.Write(raw)
		return err
	}
	var v operator.View
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	lines, _ := operator.Render(v, 80, 200, 0)
	for _, line := range lines {
		fmt.Println(line)
	}
	return nil
}
