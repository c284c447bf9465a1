//go:build imagetest

package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/announced"
	"touchmark/tests/world"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/derived"
)

// Where the board's log lies on the data partition, and its only segment.
const (
	logDir  = "/board/log/"
	segment = logDir + "log-0000000000000000"
)

const blockSize = 4096 // of the data partition's file system

// TestDamagedLog: bytes of the log are others, in what a start believes, in the last record, in the middle. The board says
// which file and what to do, and signs nothing on it; what was published stays good. A start makes good what is derived; else
// the board takes the log from its host's mirror once the damaged one is moved away, as docs/image/recovery.md says.
func TestDamagedLog(t *testing.T) {
	r := up(t)
	r.allow(patience) // it starts often
	r.sign(r.file("first"))
	r.sign(r.file("second"))
	r.publish()

	r.off()
	for _, f := range []derived.File{derived.Offsets, derived.Plans, derived.Marks, derived.Jobs} {
		r.flip(r.onCard(logDir+derived.Names[f], derived.ItemSize[f]+7)) // of the second item, in an index or a position
	}
	r.damaged("start again: then everything is checked", append(derived.Names[:], "log-0000000000000000")...) // where a position leads, if it is met first
	r.off()
	r.on()
	r.sign(r.file("derived-again"))
	r.clean()

	r.off()
	r.flip(r.onCard(segment, r.size(segment)-1))
	r.damaged("restore this directory from a mirror", "hashes", "log-0000000000000000")
	r.off()
	r.takeBack("1")

	r.off()
	r.flip(r.onCard(segment, r.size(segment)/2))
	r.damaged("restore this directory from a mirror", "log-0000000000000000")
	r.off()
	r.damaged("restore this directory from a mirror", "log-0000000000000000") // what one start finds, the next one does
	r.off()
	r.takeBack("2")
	r.verifies()
	for _, kept := range []string{"log.damaged-1", "log.damaged-2"} {
		if r.size("/board/"+kept+"/"+filepath.Base(segment)) == 0 {
			t.Errorf("%s is gone", kept)
		}
	}
}

// damaged starts a board whose log is damaged in one of some files.
func (r *rig) damaged(remedy string, files ...string) {
	r.t.Helper()
	since := r.Hostd().Log.Mark()
	r.boot()
	v, _ := r.seen(0, "that the log is damaged", func(v operator.View) bool { return v.Halt == string(recovery.LogDamaged) })
	named := false
	for _, f := range files {
		named = named || strings.Contains(v.Halted, f+" is damaged at byte")
	}
	if !named || !strings.Contains(v.Halted, remedy) {
		r.t.Errorf("which file, and what to do: %s", v.Halted)
	}
	r.halted(recovery.LogDamaged, since)
	r.judge()
}

// halted: a board that has halted signs nothing for its host, who has heard why since a line of his log.
func (r *rig) halted(h recovery.Halt, since int) {
	r.t.Helper()
	r.must(r.Hostd().AwaitLog(r.ctx, since, "state="+string(h)))
	before := len(announced.Signatures(r.tokenLog()))
	name := fmt.Sprint("halted-", before, "-", r.mark())
	res := <-r.ask(r.file(name))
	if res.Code != api.DeviceFault || !strings.Contains(res.Stderr, string(h)) {
		r.t.Errorf("a request: exit code %d, %s%s", res.Code, res.Stdout, res.Stderr)
	}
	if after := len(announced.Signatures(r.tokenLog())); after != before {
		r.t.Errorf("the token signed %d times", after-before)
	}
	if _, err := os.Stat(r.path(name + ".sig")); err == nil {
		r.t.Error("there is a signature")
	}
	if res, err := r.Run(r.ctx, r.dir, "touchmark", "status"); err != nil || res.Code != api.DeviceFault || !strings.Contains(res.Stdout, "halted "+string(h)) {
		r.t.Errorf("touchmark status: %v: exit code %d, %s%s", err, res.Code, res.Stdout, res.Stderr)
	}
}

// takeBack does what docs/image/recovery.md says of a damaged log: it moves it away, starts, and the host's mirror gives it
// back. What was moved stays on the card.
func (r *rig) takeBack(number string) {
	r.t.Helper()
	r.debugfs("ln board/log board/log.damaged-" + number) // mv, without mounting it
	r.debugfs("unlink board/log")
	since := r.Hostd().Log.Mark()
	r.boot()
	_, mark := r.seen(0, "that it is up", func(v operator.View) bool { return v.Ask == operator.AskTime })
	r.must(r.Operator("time yes"))
	_, mark = r.seen(mark, "that the log came back", func(v operator.View) bool { return v.Event == "ready" })
	r.must(r.Unlock(r.ctx, mark-1, world.PIN))
	r.must(r.Hostd().AwaitLog(r.ctx, since, "log verified", "board=ready"))
	r.sign(r.file("taken-back-" + number))
	r.clean()
	if n := strconv.Itoa(r.unknown()); n != number {
		r.t.Errorf("%s requests ended as unknown: HEAD had not taken the end of the newest one before", n)
	}
}

// unknown is how many requests ended so that nobody knows how, says the log.
func (r *rig) unknown() (n int) {
	r.t.Helper()
	for _, e := range r.entries() {
		if o, ok := e.body.(*ledger.Outcome); ok && slices.ContainsFunc(o.Items, func(i ledger.ItemResult) bool { return i.State == ledger.Unknown }) {
			n++
		}
	}
	return n
}

// TestDamagedFileSystem: parts of the data partition's file system are damaged that a mount meets, that the first look at the log
// meets, that the first allocation meets, and the card begins to fail in the middle of a request. Each time nothing is signed,
// the display says what to do, the host is refused, and fetches the whole log where it can be read; e2fsck on another machine
// mends what it can.
func TestDamagedFileSystem(t *testing.T) {
	r := up(t)
	r.allow(patience) // it starts often
	r.sign(r.file("first"))
	r.publish()
	r.off()
	for _, d := range []damage{
		{"the journal's first block", func() int64 { return r.onCard("<8>", 0) }, "check the copy with e2fsck", recovery.LogUnwritable},
		{"a group descriptor", func() int64 { return r.partition(4) + blockSize + 0x10 }, "check the copy with e2fsck", recovery.LogUnwritable},
		{"the inode of the log's folder", r.logInode, "the file system is damaged: copy the log from it, then check the copy with e2fsck", recovery.LogUnreadable},
		{"the bitmap of the first group", r.bitmap, "the disk is read-only, perhaps because it is failing: copy the log from it", recovery.LogUnwritable},
		{"what the kernel noted then", nil, "the kernel noted errors in it", recovery.LogUnwritable},
	} {
		if d.at != nil {
			r.fsck() // of what was before
			r.flip(d.at())
		}
		r.found(d)
		r.off()
	}
	r.fsck()
	r.on()
	r.sign(r.file("mended"))

	r.failsMidway()
	r.cut()
	r.on() // the card has only failed for a while
	r.sign(r.file("after-the-failure"))
	r.clean()
	r.verifies()
}

// damage is one of a file system, and how the board stands then.
type damage struct {
	what string
	at   func() int64 // on the card; nil: it is damaged
	says string
	halt recovery.Halt
}

// found starts a board that is to find damage.
func (r *rig) found(d damage) {
	r.t.Helper()
	r.t.Log(d.what)
	since := r.Hostd().Log.Mark()
	r.boot()
	var halted *world.HaltedError
	if err := r.Unlock(r.ctx, 0, world.PIN); !errors.As(err, &halted) {
		r.t.Errorf("it is not halted: %v", err)
	}
	v, _ := r.seen(0, "that it is halted", func(v operator.View) bool { return v.Halt == string(d.halt) })
	if said := v.Halted + v.Warning; !strings.Contains(said, d.says) {
		r.t.Errorf("what it is, and what to do: %s %s", v.Halted, v.Warning)
	}
	r.halted(d.halt, since)
	if d.halt == recovery.LogUnwritable { // it can be read
		r.fetchedAnew()
	}
}

// failsMidway has the card fail each write from the moment on that a request is on display, and the operator arm it.
func (r *rig) failsMidway() {
	r.t.Helper()
	before := len(announced.Signatures(r.tokenLog()))
	mark, since := r.Views().Mark(), r.Hostd().Log.Mark()
	done := r.ask(r.file("while-it-fails"))
	job := r.asked(mark, done)
	r.do("blockdev-add", map[string]any{"driver": "blkdebug", "node-name": "failing", "image": "medium",
		"inject-error": []any{map[string]any{"event": "none", "iotype": "write"}}}) // EIO
	r.do("blockdev-reopen", map[string]any{"options": []any{map[string]any{"driver": "raw", "node-name": "card", "file": "failing"}}})
	r.must(r.Operator("arm " + job))
	v, _ := r.seen(mark, "that it is halted", func(v operator.View) bool { return v.Halt == string(recovery.LogUnwritable) })
	if !strings.Contains(v.Halted, "failing") {
		r.t.Errorf("what it is: %s", v.Halted)
	}
	if res := <-done; res.Code != api.DeviceFault || !strings.Contains(res.Stderr, "the appliance has halted") {
		r.t.Errorf("the request: exit code %d, %s%s", res.Code, res.Stdout, res.Stderr)
	}
	if after := len(announced.Signatures(r.tokenLog())); after != before {
		r.t.Errorf("the token signed %d times", after-before)
	}
	r.halted(recovery.LogUnwritable, since)
	r.fetchedAnew()
}

// logInode is where on the card the inode of the log's folder says when it was read last.
func (r *rig) logInode() int64 {
	r.t.Helper()
	return r.numbers("imap /board/log", `located at block ([0-9]+), offset 0x([0-9a-f]+)`) + 8
}

// bitmap is where on the card the bitmap of the first group's blocks is.
func (r *rig) bitmap() int64 {
	r.t.Helper()
	return r.numbers("show_super_stats", `Group +0: block bitmap at ([0-9]+)()`) + blockSize - 1
}

// numbers is the place on the card that debugfs tells of: a block, and an offset in it, hexadecimal.
func (r *rig) numbers(command, pattern string) int64 {
	r.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(r.debugfs(command))
	if m == nil {
		r.t.Fatalf("debugfs %q does not tell where that is", command)
	}
	block, err := strconv.ParseInt(m[1], 10, 64)
	r.must(err)
	offset, err := strconv.ParseInt("0"+m[2], 16, 64)
	r.must(err)
	return r.partition(4) + block*blockSize + offset
}

// fsck is what docs/image/recovery.md has an administrator do on another machine: a copy of the partition is mended, and
// written to a new card.
func (r *rig) fsck() {
	r.t.Helper()
	const chunk = 1 << 20
	if r.partition(4)%chunk != 0 {
		r.t.Fatal("the partition does not begin where dd would")
	}
	begin := strconv.FormatInt(r.partition(4)/chunk, 10)
	r.run("dd", "if="+r.path("card"), "of="+r.path("partition"), "bs=1M", "skip="+begin, "conv=sparse")
	r.run("sh", "-c", "e2fsck -fy '"+r.path("partition")+"'; test $? -le 1") // 1: it was mended
	r.run("dd", "if="+r.path("card"), "of="+r.path("new"), "bs=1M", "count="+begin)
	r.run("dd", "if="+r.path("partition"), "of="+r.path("new"), "bs=1M", "seek="+begin, "conv=sparse")
	r.must(os.Rename(r.path("new"), r.path("card")))
	r.must(os.Remove(r.path("partition")))
}

// fetchedAnew has a host that has nothing yet fetch the whole log.
func (r *rig) fetchedAnew() {
	r.t.Helper()
	r.StopHostd()
	r.must(os.Rename(filepath.Join(r.Host, "mirror"), filepath.Join(r.Host, fmt.Sprint("mirror-", r.mark()))))
	had := fmt.Sprint(r.Mirror, "-", r.mark())
	r.must(os.Rename(r.Mirror, had))
	r.host()
	r.publish()
	r.judge()
	res, err := r.Run(r.ctx, r.dir, "touchmark-audit", "diff", had, r.Mirror, "--trust", r.Trust)
	if err != nil || res.Code != 0 || !strings.HasPrefix(res.Stdout, "the same log of ") {
		r.t.Errorf("what the board gave: %v: exit code %d, %s%s", err, res.Code, res.Stdout, res.Stderr)
	}
}

// verifies: each signature that the host has is good, and in the log.
func (r *rig) verifies() {
	r.t.Helper()
	sigs, err := filepath.Glob(r.path("*.sig"))
	r.must(err)
	for i, s := range sigs {
		sigs[i] = strings.TrimSuffix(s, ".sig")
	}
	res, err := r.Run(r.ctx, r.dir, "touchmark", append([]string{"verify"}, sigs...)...)
	r.must(err)
	if res.Code != 0 || len(sigs) == 0 {
		r.t.Errorf("touchmark verify: exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
}

// onCard is where on the card a byte of a file on the data partition is.
func (r *rig) onCard(file string, at int64) int64 {
	r.t.Helper()
	blocks := strings.Fields(lastLine(r.debugfs("blocks " + file)))
	if int64(len(blocks)) <= at/blockSize {
		r.t.Fatalf("%s has the blocks %q", file, blocks)
	}
	block, err := strconv.ParseInt(blocks[at/blockSize], 10, 64)
	r.must(err)
	return r.partition(4) + block*blockSize + at%blockSize
}

// size is that of a file on the data partition.
func (r *rig) size(file string) int64 {
	r.t.Helper()
	_, after, _ := strings.Cut(r.debugfs("stat "+file), "Size: ")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	r.must(err)
	return n
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
