package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/enrol/stopped"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/update"
	"touchmark/hostlink/message"
	"touchmark/tests/world"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// longLog is how much of the log TestLongLogHeals loses, in KiB: enough for some marks. 'make heal' has it lose more, which
// takes its time.
func (r *rig) longLog() int {
	r.t.Helper()
	s := os.Getenv("TOUCHMARK_HEAL_KIB")
	if s == "" {
		return 600
	}
	n, err := strconv.Atoi(s)
	r.must(err)
	r.ctx = r.t.Context()
	return n
}

// peak is the most memory that the board had.
func (r *rig) peak() string {
	r.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.Appliance().PID))
	r.must(err)
	return regexp.MustCompile(`(?m)^VmHWM:.*$`).FindString(string(b))
}

// grows makes the log of a stopped board longer by policies with much to say, as the board would: each appended with its
// plan, committed to the TPM and attested.
func (r *rig) grows(kib int) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.Host, "policy.toml"))
	r.must(err)
	key, err := os.ReadFile(r.Key("admin1"))
	r.must(err)
	admin, err := note.NewSigner(strings.TrimSpace(string(key)))
	r.must(err)
	tpm, err := device.Open(r.TPM.Spec())
	r.must(err)
	defer func() { r.must(tpm.Close()) }()
	store, err := ledgerstore.Open(stopped.LogDir(r.Board))
	r.must(err)
	defer func() { r.must(store.Close()) }()
	c := chain.New(chain.Config{Store: store, TPM: tpm, Key: logkey.Ring{Dir: r.Board}.Find, Log: zerolog.Nop()})
	r.must(c.Load(time.Now()))
	r.must(c.Start(time.Now().UTC().Truncate(time.Second), time.Time{}, false, update.Version, ledger.ClockSystem))
	pad := "\n" + strings.Repeat("# "+strings.Repeat("x", 97)+"\n", 200)
	previous := uint64(0)
	for serial, n := 2, 0; n < kib<<10; serial, n = serial+1, n+len(text) {
		text = []byte(regexp.MustCompile(`(?m)^previous *=.*$`).ReplaceAllString(string(text), fmt.Sprintf(`previous = "%x"`, sha256.Sum256(text))))
		text = regexp.MustCompile(`(?m)^serial *=.*$`).ReplaceAll(text, []byte("serial = "+strconv.Itoa(serial)))
		if serial == 2 {
			text = append(text, pad...)
		}
		signed, err := message.SignNote(text, admin)
		r.must(err)
		r.commits(c, &ledger.Order{Action: ledger.KindPolicy, Mirrored: true, Previous: previous, Note: signed})
		previous = store.Size() - 2
	}
}

// commits appends an entry, has HEAD take it, and attests that.
func (r *rig) commits(c *chain.Chain, body any) {
	r.t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	entries, err := c.Entries(now, body)
	r.must(err)
	plan, err := c.Planned(entries)
	r.must(err)
	m := c.Commit(*plan)
	r.must(c.Append(plan, entries...))
	_, err = c.ExtendHead(m)
	r.must(err)
	c.TookHead(m)
	_, err = c.ExtendPCR(m)
	r.must(err)
	c.TookPCR(m)
	a, err := c.Attestation(m, nil, nil)
	r.must(err)
	r.must(c.AppendNow(now, a))
}

// A board that lost its whole disk gets a log of any length from the host's mirror, in memory that does not grow with it,
// also if it is killed on the way.
func TestLongLogHeals(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.works()
	r.StopAppliance()
	r.grows(r.longLog())
	mark := r.Hostd().Log.Mark()
	r.must(r.StartAppliance(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
	r.works()
	r.StopAppliance()
	log := filepath.Join(r.Board, "log")
	r.must(os.RemoveAll(log))
	mark = r.Hostd().Log.Mark()
	r.must(r.LaunchAppliance())
	var halted *world.HaltedError
	if err := r.Unlock(r.ctx, 0, world.PIN); !errors.As(err, &halted) {
		t.Fatal(err)
	}
	_, _, err := r.Views().Wait(r.ctx, 0, func(v operator.View) bool { return v.LogSize > 10 })
	r.must(err)
	r.KillAppliance()
	r.must(r.LaunchAppliance())
	_, ready, err := r.Views().Wait(r.ctx, 0, func(v operator.View) bool {
		if v.Ask == operator.AskTime {
			r.must(r.Operator("time yes"))
		}
		return v.Event == "ready"
	})
	r.must(err)
	t.Log(r.peak())
	r.must(r.Unlock(r.ctx, ready-1, world.PIN))
	r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
	r.works()
	r.clean()
}

// A board whose disk was rolled back halts, gets the end of its log from the host's mirror, and goes on; the host and the
// auditor see one log.
func TestRolledBackDiskHealsFromTheMirror(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(r *rig)
	}{
		{"stopped", func(r *rig) { r.StopAppliance() }},
		{"killed", func(r *rig) { r.KillAppliance() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := up(t, world.Config{})
			r.works()
			r.StopAppliance()
			log, old := filepath.Join(r.Board, "log"), filepath.Join(t.TempDir(), "log")
			r.must(os.CopyFS(old, os.DirFS(log)))
			r.must(r.StartAppliance(r.ctx))
			r.works()
			r.works()
			c.end(r)
			r.must(os.RemoveAll(log))
			r.must(os.CopyFS(log, os.DirFS(old)))
			r.heals("head-unknown")
		})
	}
}

// heals starts a board that lacks a part of its log: it halts, takes what it lacks from the host's mirror, and signs.
func (r *rig) heals(halt string) {
	r.t.Helper()
	mark := r.Hostd().Log.Mark()
	r.must(r.LaunchAppliance())
	var halted *world.HaltedError
	if err := r.Unlock(r.ctx, 0, world.PIN); !errors.As(err, &halted) || !strings.Contains(halted.Why, halt) {
		r.t.Fatal(err)
	}
	_, ready, err := r.Views().Wait(r.ctx, 0, func(v operator.View) bool { return v.Event == "ready" })
	r.must(err)
	r.must(r.Unlock(r.ctx, ready-1, world.PIN))
	r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
	r.works()
	r.clean()
}
