//go:build emulated

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// idle is the share of a core that board (core and link process) and daemon use together while nothing happens.
func (b *bench) idle() ([]Row, error) {
	groups := []int{b.w.Appliance().PID, b.w.Hostd().PID}
	before, err := cpuTime(groups...)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := sleep(b.ctx, b.size.link.idle); err != nil {
		return nil, err
	}
	after, err := cpuTime(groups...)
	wall := time.Since(begin)
	return []Row{summary("link_idle_cpu", "", 0.005, []float64{float64(after-before) / float64(wall)})}, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cpuTime is what all processes of some process groups have used, by the scheduler's clock: ticks of 10 ms would be
// coarser than what is measured (Documentation/scheduler/sched-stats.rst, schedstat: time on the CPU in ns first).
func cpuTime(groups ...int) (total time.Duration, err error) {
	for _, group := range groups {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return 0, err
		}
		found := false
		for _, path := range stats {
			if processGroup(path) == group {
				found = true
				total += tasksTime(filepath.Dir(path))
			}
		}
		if !found {
			return 0, errors.New("bench: what was to be idle has ended")
		}
	}
	return total, nil
}

// processGroup is the group of the process whose stat file it is (proc(5), field 5); 0 when it has ended.
func processGroup(stat string) int {
	b, err := os.ReadFile(stat)
	if err != nil {
		return 0
	}
	var state string
	var parent, group int
	if _, err := fmt.Sscan(string(b[bytes.LastIndexByte(b, ')')+1:]), &state, &parent, &group); err != nil {
		return 0
	}
	return group
}

func tasksTime(process string) (total time.Duration) {
	tasks, err := filepath.Glob(filepath.Join(process, "task/*/schedstat"))
	if err != nil {
		return 0
	}
	for _, task := range tasks {
		var ns int64
		if b, err := os.ReadFile(task); err == nil {
			if _, err := fmt.Fscan(strings.NewReader(string(b)), &ns); err == nil {
				total += time.Duration(ns)
			}
		}
	}
	return total
}
