//go:build emulated

package crash

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/enrol"
	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/enrol/stopped"
	"touchmark/appliance/operator"
	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
	"touchmark/tests/swtpm"
	"touchmark/tpm/anchor"
	"touchmark/tpm/device"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

const (
	origin = "touchmark.example/crash"
	logDir = "/board/log" // on the disk in memory, like
	keyDir = "/board"
	pin    = "123456"
)

const policyTOML = `version = 1
origin = "%[1]s"
serial = 1
previous = ""
max_skew = "10m"
max_validity = "24h"

[administrators]
quorum = 1
keys = ["%[2]s"]

[[host]]
name = "repo1"
key = "%[3]s"

[[key]]
name = "packages"
slot = "9c"
family = "openpgp-data"
algorithm = "p256"

[[class]]
name = "db"
keys = ["packages"]
hosts = ["repo1"]
names = ["*.db"]
formats = ["openpgp-binary"]
max_size = "1MiB"
rates = ["600/1h"]
approvals = 0
batch = 4
`

// base is an enrolled board with a ceremony behind it, switched off: what every
// run begins with.
type base struct {
	flash   []byte // the TPM's
	blank   []byte // that of another TPM
	disk    *disktest.Disk
	card    string // the token's state file
	entries [][]byte
	size    uint64 // that the host knows as committed
	note    []byte // that says so

	trust  *anchor.Trust
	pinned *verify.Trust
	host   note.Signer
	admin  note.Signer
	policy string
	uid    string
}

func newNoteKey(name string) (note.Signer, string, error) {
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, "", err
	}
	s, err := note.NewSigner(secret)
	return s, public, err
}

// bench is hardware, for one run at a time: a TPM and a token in a reader.
type bench struct {
	t      *testing.T
	dir    string
	tpm    *swtpm.Server
	card   *pivemu.Card
	reader string
	apdus  *transcript // the token's own log
}

// transcript is what somebody writes down from several goroutines.
type transcript struct {
	mu sync.Mutex // guards text
	b  bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(b)
}

func (t *transcript) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Reset()
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

func newBench(t *testing.T, card string) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash") // short: a socket's path is bounded
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bench{t: t, dir: dir, tpm: swtpm.Start(t), reader: filepath.Join(dir, "s"), apdus: &transcript{}}
	b.card, err = pivemu.New(pivemu.Config{StatePath: card, Touch: pivemu.TouchAuto, Log: b.apdus})
	ok(t, err)
	port := front.NewPort(b.card)
	t.Cleanup(port.Close)
	ok(t, port.ServeUnix(b.reader))
	t.Cleanup(pcsc.Register(pcsc.DialBackend(b.reader)))
	return b
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openTPM is the TPM as the board sees it.
func (b *bench) openTPM() (*device.TPM, error) { return device.Open(b.tpm.Spec()) }

// enrolled holds the key ceremony and puts what it made on a disk in memory.
func enrolled(t *testing.T) *base {
	t.Helper()
	dir := t.TempDir()
	b := &base{card: filepath.Join(dir, "card"), uid: "Crash <crash@touchmark.example>"}
	var adminKey, hostKey string
	var err error
	b.admin, adminKey, err = newNoteKey("admin")
	ok(t, err)
	b.host, hostKey, err = newNoteKey("repo1")
	ok(t, err)
	b.policy = fmt.Sprintf(policyTOML, origin, adminKey, hostKey)
	signed, err := message.SignNote([]byte(b.policy), b.admin)
	ok(t, err)
	h := newBench(t, b.card)
	b.blank, err = h.tpm.Flash()
	ok(t, err)
	cfg := enrol.Config{
		Dir: filepath.Join(dir, "board"), TrustDir: filepath.Join(dir, "trust"), PolicyNote: signed, UserID: b.uid,
		Throwaway: true, Panel: make(clerk, 1), Now: time.Now().UTC().Truncate(time.Second),
	}
	cfg.TPM, err = h.openTPM()
	ok(t, err)
	cfg.Token, err = piv.Open(piv.Options{Reader: h.reader})
	ok(t, err)
	b.trust, err = enrol.Run(context.Background(), cfg)
	ok(t, errors.Join(err, cfg.Token.Close(), cfg.TPM.Close()))
	text, err := os.ReadFile(filepath.Join(cfg.TrustDir, "trust"))
	ok(t, err)
	b.pinned, err = verify.ParseTrust(text)
	ok(t, err)
	b.disk = load(t, cfg.Dir)
	b.flash, err = h.tpm.Flash()
	ok(t, err)
	b.firstJob(t, h)
	return b
}

// firstJob gives the log a boot and a signature.
func (b *base) firstJob(t *testing.T, h *bench) {
	t.Helper()
	r, err := newRun(h, b)
	ok(t, err)
	ok(t, r.up())
	ok(t, r.signs("first.db"))
	ok(t, r.down())
	b.disk, b.entries, b.size, b.note = r.disk, r.host.entries, r.host.committed, r.host.note
	b.flash, err = h.tpm.Flash()
	ok(t, err)
}

// clerk is the operator of the key ceremony.
type clerk chan operator.Command

func (c clerk) Commands() <-chan operator.Command { return c }

func (c clerk) Show(v operator.View) {
	if v.Ask == operator.AskPIN {
		c <- operator.Command{Verb: operator.PIN, PIN: []byte(pin)}
	}
}

// load copies a board's log and its log key to a disk in memory, durably.
func load(t *testing.T, dir string) *disktest.Disk {
	t.Helper()
	d := disktest.New(logDir)
	log := stopped.LogDir(dir)
	files, err := os.ReadDir(log)
	ok(t, err)
	for _, e := range files {
		loadFile(t, d, filepath.Join(logDir, e.Name()), filepath.Join(log, e.Name()))
	}
	loadFile(t, d, filepath.Join(keyDir, logkey.File), filepath.Join(dir, logkey.File))
	ok(t, errors.Join(d.SyncDir(logDir), d.SyncDir(keyDir)))
	return d
}

func loadFile(t *testing.T, d *disktest.Disk, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	ok(t, err)
	f, err := d.Open(to, os.O_RDWR|os.O_CREATE, 0o600)
	ok(t, err)
	if len(data) > 0 {
		_, err = f.WriteAt(data, 0)
	}
	ok(t, errors.Join(err, f.Sync(), f.Close()))
}

// token is the real one as the station wants it, asked about each signature.
type token struct {
	*piv.Token
	run  *run
	life *life
}

func (k token) Present() bool { return !k.life.ended() && k.Token.Present() }

func (k token) Public(slot string) (crypto.PublicKey, error) {
	pub, err := k.Token.Public(slot)
	if errors.Is(err, piv.ErrEmptySlot) {
		return nil, nil
	}
	return pub, err
}

func (k token) Sign(slot string, pub crypto.PublicKey, digest []byte, h crypto.Hash) ([]byte, error) {
	o := k.life.meet(tokenLane, "Sign", false)
	if o.extent == none {
		return nil, o.err
	}
	head, err := k.run.head()
	if err != nil {
		return nil, err
	}
	k.run.asked(digest, head)
	sig, err := k.Token.Sign(slot, pub, digest, h)
	switch {
	case errors.Is(err, piv.ErrTouchTimeout):
		err = fmt.Errorf("%w: %w", ceremony.ErrTouchTimeout, err)
	case errors.Is(err, piv.ErrRemoved):
		err = fmt.Errorf("%w: %w", ceremony.ErrRemoved, err)
	case errors.Is(err, piv.ErrPINRequired):
		err = fmt.Errorf("%w: %w", ceremony.ErrPIN, err)
	}
	switch {
	case o.err != nil:
		return nil, o.err
	case k.life.ended():
		return nil, errDead
	}
	return sig, err
}
