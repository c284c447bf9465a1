//go:build emulated

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/tests/biglog"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// auditBench measures the auditor on logs of many signatures, made once and kept below build/.
type auditBench struct {
	ctx  context.Context
	bin  string // touchmark-audit
	dir  string // where the logs are kept
	logs []logSize
}

// logSize is a log to measure on. The rows about it are known by what the log is in a full run: a quick one has the same
// rows on smaller logs, and each row says how long its log was.
type logSize struct {
	name       string
	signatures int
	rounds     int // measured rounds of the whole audit
}

// logSizes gives the logs, the one last that targets are for.
func logSizes(quick, huge bool) []logSize {
	switch million := (logSize{"1m", 1_000_000, 1}); {
	case quick:
		return []logSize{{"1e3", 300, 15}, {"1e4", 1_000, 5}, {"1e5", 5_000, 1}, {"1m", 20_000, 1}}
	case huge:
		return []logSize{{"1e3", 1_000, 15}, {"1e4", 10_000, 5}, {"1e5", 100_000, 3}, {"1e7", 10_000_000, 1}, million}
	default:
		return []logSize{{"1e3", 1_000, 15}, {"1e4", 10_000, 5}, {"1e5", 100_000, 3}, million}
	}
}

// longest is how many signatures the log has that targets are for.
func longest(quick bool) int {
	logs := logSizes(quick, false)
	return logs[len(logs)-1].signatures
}

// auditRows measures the auditor alone: nothing else of the world takes part.
func auditRows(ctx context.Context, bin, dir string, quick, huge bool) ([]Row, error) {
	b := &auditBench{ctx: ctx, bin: bin, dir: dir, logs: logSizes(quick, huge)}
	return b.rows()
}

// rows has eight rows for each log, and two more for the longest.
func (b *auditBench) rows() (rows []Row, err error) {
	for _, size := range b.logs {
		log, err := biglog.Cached(b.dir, size.signatures)
		if err != nil {
			return nil, err
		}
		checked, err := b.full("audit_"+size.name, log, size.rounds)
		if err != nil {
			return nil, err
		}
		incr, err := b.incremental(size.name, log)
		if err != nil {
			return nil, err
		}
		proof, err := b.prove(size.name, log)
		if err != nil {
			return nil, err
		}
		board, err := boardRows(size.name, log)
		if err != nil {
			return nil, err
		}
		mirror, err := mirrorRow("mirror_"+size.name+"_ms", log)
		if err != nil {
			return nil, err
		}
		for _, r := range slices.Concat(checked, []Row{incr, proof}, board, []Row{mirror}) {
			r.Size = log.Signatures
			rows = append(rows, r)
		}
	}
	last := b.logs[len(b.logs)-1]
	log, err := biglog.Cached(b.dir, last.signatures)
	if err != nil {
		return nil, err
	}
	simulated, err := b.simulate(last.name, log)
	for _, r := range simulated {
		r.Size = log.Signatures
		rows = append(rows, r)
	}
	return rows, err
}

// incremental is the audit of a good 100 new entries, as a process.
func (b *auditBench) incremental(size string, log *biglog.Published) (Row, error) {
	name := "audit_incr_ms"
	if size != "1m" {
		name = fmt.Sprintf("audit_%s_incr_ms", size)
	}
	var took []float64
	for range 5 {
		u, err := b.run("touchmark-audit", "verify", log.Log, "--trust", log.Trust, "--since", log.Earlier)
		if err != nil {
			return Row{}, err
		}
		took = append(took, ms(u.took))
	}
	return summary(name, "ms", 1000, took), nil
}

// prove is one inclusion proof out of the published tiles, verified, for entries all over the log.
func (b *auditBench) prove(size string, log *biglog.Published) (Row, error) {
	name := fmt.Sprintf("prove_%s_ms", size)
	published, err := tiles.Open(log.Log)
	if err != nil {
		return Row{}, err
	}
	note, err := published.Checkpoint()
	if err != nil {
		return Row{}, err
	}
	_, entries, root, err := ledger.ParseCheckpointBody(note[:bytes.Index(note, []byte("\n\n"))+1])
	if err != nil {
		return Row{}, err
	}
	var took []float64
	for n := range uint64(31) {
		index := n * (entries - 1) / 31
		d, err := stopwatch(func() error { return proveOne(published, entries, root, index) })()
		if err != nil {
			return Row{}, err
		}
		took = append(took, ms(d))
	}
	return summary(name, "ms", 5, took), nil
}

// proveOne reads an entry, proves that it is in the tree of this size and root, and checks that proof.
func proveOne(published *tiles.Tiles, size uint64, root [32]byte, index uint64) error {
	for raw, err := range published.Entries(index) {
		if err != nil {
			return err
		}
		path, err := history.Path(size, root, index, published.HashTile)
		if err == nil && !ledger.CheckInclusion(path, index, size, ledger.LeafHash(raw), root) {
			err = errors.New("the proof does not verify")
		}
		return err
	}
	return fmt.Errorf("entry %d is missing", index)
}

// full is the whole audit, as a process, against the signature checks and the hashing that it cannot do without: in time,
// and in time on processors, which other work on the machine does not change. The peer allocates next to nothing; how often the auditor collects garbage is its own affair.
func (b *auditBench) full(name string, log *biglog.Published, n int) ([]Row, error) {
	work, err := loadCrypto(log)
	if err != nil {
		return nil, err
	}
	var rss, cpu, cpuPeer []float64
	ours := func() (time.Duration, error) {
		u, err := b.run("touchmark-audit", "verify", log.Log, "--trust", log.Trust)
		rss, cpu = append(rss, float64(u.kib)/1024), append(cpu, ms(u.cpu))
		return u.took, err
	}
	theirs := func() (time.Duration, error) {
		before, err := ownCPU()
		if err != nil {
			return 0, err
		}
		d, err := stopwatch(work.do)()
		if err != nil {
			return 0, err
		}
		after, err := ownCPU()
		cpuPeer = append(cpuPeer, ms(after-before))
		return d, err
	}
	peer := fmt.Sprintf("%d ECDSA P-256 and %d Ed25519 verifications, SHA-256 of %d MB read, on all processors", len(work.ecdsa), len(work.ed25519), work.bytes>>20)
	wall, err := compare(name+"_vs_crypto", peer, 1.3, n, ours, theirs)
	if err != nil {
		return nil, err
	}
	busy := against(summary(name+"_cpu_vs_crypto", "ms", 1.3, cpu[1:]), peer+", time on processors", cpuPeer[1:])
	return []Row{wall, busy, summary(name+"_rss_mib", "MiB", 96, rss)}, nil
}

// ownCPU is the time that this process has spent on processors.
func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// used is what a process took.
type used struct {
	took, cpu time.Duration
	kib       int64 // most memory
}

// run runs a program, mostly the auditor, which must find no evidence (beyond 10^6 signatures it warns of the TPM's wear),
// and says what that took.
func (b *auditBench) run(program string, args ...string) (u used, err error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(b.ctx, filepath.Join(b.bin, program), args...)
	cmd.Stdout, cmd.Stderr = io.Discard, &out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return u, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		u.kib = max(u.kib, peakOf(cmd.Process.Pid))
		select {
		case err = <-done:
			tick.Stop()
			u.took, u.cpu = time.Since(begin), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
			if err != nil && cmd.ProcessState.ExitCode() != 1 {
				return u, fmt.Errorf("%v: %w: %s", cmd.Args, err, out.String())
			}
			return u, nil
		case <-tick.C:
		}
	}
}

// peakOf is the most memory that a running process has had resident, in KiB; 0 once it has ended. What wait4 tells will
// not do: it counts the memory of this process, from before the exec.
func peakOf(pid int) (kib int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(b), "\nVmHWM:")
	if _, err := fmt.Sscan(line, &kib); err != nil {
		return 0
	}
	return kib
}
