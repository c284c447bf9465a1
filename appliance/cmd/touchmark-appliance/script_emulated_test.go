//go:build emulated && !pcscd

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tests/biglog"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
	"touchmark/tests/swtpm"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"touchmark-appliance": main, "inside": inside})
}

// TestScripts runs the command as people do; testdata/script has the cases.
//
//	code N COMMAND…   wants exactly this exit code
//	hardware          a new TPM ($TPM) and a new token that is always touched ($TOKEN)
//	policy FILE       a policy note by its administrator
//	biglog DIR FILE   a published log of 300 signatures, and its policy
//	identity FILE     an age identity, its recipient in $RECIPIENT
//	challenge FILE    an auditor's challenge for the log of trust/
//	trusted           trust/ verifies, and holds the log key of board/
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's exit takes a second else
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "hardware": hardware, "policy": policyNote, "biglog": bigLog, "identity": identity, "challenge": askBoard, "trusted": trusted,
		},
	})
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit interface{ ExitCode() int }
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func hardware(ts *testscript.TestScript, _ bool, _ []string) {
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	ts.Check(err)
	ts.Defer(func() { _ = os.RemoveAll(dir) })
	tpm, err := swtpm.StartDir(filepath.Join(dir, "tpm"))
	ts.Check(err)
	ts.Defer(func() { ts.Check(tpm.Stop()) })
	card, err := pivemu.New(pivemu.Config{Serial: 7070707, Touch: pivemu.TouchAuto})
	ts.Check(err)
	port := front.NewPort(card)
	ts.Defer(port.Close)
	ts.Check(port.ServeUnix(filepath.Join(dir, "token")))
	ts.Setenv("TPM", tpm.Spec())
	ts.Setenv("TOKEN", filepath.Join(dir, "token"))
}

// signer is the key of this name, the same each time.
func signer(ts *testscript.TestScript, name string) (note.Signer, string) {
	seed := sha256.Sum256([]byte(name))
	secret, public, err := note.GenerateKey(bytes.NewReader(seed[:]), name)
	ts.Check(err)
	s, err := note.NewSigner(secret)
	ts.Check(err)
	return s, public
}

func policyNote(ts *testscript.TestScript, _ bool, args []string) {
	admin, adminKey := signer(ts, "admin")
	_, hostKey := signer(ts, "repo1")
	signed, err := message.SignNote(fmt.Appendf(nil, ts.ReadFile("policy.toml"), adminKey, hostKey), admin)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), signed, 0o600))
}

func bigLog(ts *testscript.TestScript, _ bool, args []string) {
	p, err := biglog.Cached(ts.MkAbs("made"), 300)
	ts.Check(err)
	ts.Check(os.Rename(p.Log, ts.MkAbs(args[0])))
	t, err := tiles.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	for e, err := range t.Entries(0) {
		ts.Check(err)
		_, body, err := ledger.Parse(e)
		ts.Check(err)
		text, err := message.NoteText(body.(*ledger.Genesis).Policy) // entry 0
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
		return
	}
}

func identity(ts *testscript.TestScript, _ bool, args []string) {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Setenv("RECIPIENT", id.Recipient().String())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(id.String()+"\n"), 0o600))
}

func readTrustOf(ts *testscript.TestScript) *anchor.Trust {
	trust, err := anchor.OpenTrust([]byte(ts.ReadFile("trust/trust")))
	ts.Check(err)
	return trust
}

func askBoard(ts *testscript.TestScript, _ bool, args []string) {
	c := &challenge.Challenge{Origin: readTrustOf(ts).Origin, Time: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Nonce: [32]byte{1, 2, 3}}
	text, err := c.Marshal()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

func trusted(ts *testscript.TestScript, _ bool, _ []string) {
	trust := readTrustOf(ts)
	s, err := note.NewSigner(string(bytes.TrimSpace([]byte(ts.ReadFile("board/log.key")))))
	ts.Check(err)
	v, err := note.NewVerifier(trust.LogKey)
	ts.Check(err)
	if s.KeyHash() != v.KeyHash() || s.Name() != trust.Origin {
		ts.Fatalf("log key %s, trust names %s", s.Name(), trust.LogKey)
	}
}
