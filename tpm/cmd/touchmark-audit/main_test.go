package main

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	armorer "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"touchmark/tpm/cli"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/tokenkey"
	"touchmark/tpm/ledger/tokenkey/tokenkeytest"
	"touchmark/tpm/ledgerstore/tiles"
)

// The scripts work on copies of the example log. "audit CODE ARGS" runs the
// command, wants that exit code and leaves everything it printed in the file
// out; arguments that begin with ./ are paths. "flip FILE OFFSET" changes a
// bit, "cut FILE N" drops the last N bytes, "signature INDEX ITEM FILE" takes a
// signature out of an outcome, "armor FROM TO" armours it, "take FILE NAME" sets
// a variable to the word in a file.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			return os.CopyFS(env.WorkDir, os.DirFS("../../audit/testdata/example"))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"audit": auditCmd, "flip": flip, "cut": cut, "signature": signature, "armor": armor, "enrolled": enrolled, "take": take,
		},
	})
}

func auditCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: audit CODE ARGS")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	for i, a := range args {
		if strings.HasPrefix(a, "./") {
			args[i] = ts.MkAbs(a)
		}
	}
	var out bytes.Buffer
	got := run(args, &out, &out)
	ts.Logf("%s", out.String())
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o600))
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// enrolled makes a trust file "pinned" that two of admin1, admin2 and admin3 renew,
// or safe1 and safe2, who recover it, and their key files; newlog.key is another log
// key, spare.key the record of a token's.
func enrolled(ts *testscript.TestScript, _ bool, _ []string) {
	old, err := cli.ReadTrust(ts.MkAbs("trust"))
	ts.Check(err)
	key := func(file, name string) string {
		skey, vkey, err := note.GenerateKey(rand.Reader, name)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(file+".key"), []byte(skey+"\n"), 0o600))
		ts.Setenv(strings.ToUpper(file), vkey)
		return vkey
	}
	old.LogKey, old.Quorum, old.Administrators = key("log", old.Origin), 2, nil
	for _, name := range []string{"admin1", "admin2", "admin3"} {
		old.Administrators = append(old.Administrators, key(name, name))
	}
	old.RecoveryQuorum, old.Recovery = 2, []string{key("safe1", "safe1"), key("safe2", "safe2")}
	key("newlog", old.Origin)
	key("admin4", "admin4")
	record := tokenkeytest.New(tokenkeytest.Spec{})
	text, err := tokenkey.Marshal(&record.Record)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("spare.key"), text, 0o600))
	skey, err := os.ReadFile(ts.MkAbs("log.key"))
	ts.Check(err)
	signer, err := note.NewSigner(strings.TrimSpace(string(skey)))
	ts.Check(err)
	msg, err := old.Sign(signer)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("pinned"), msg, 0o600))
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

func take(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Setenv(args[1], strings.TrimSpace(string(b)))
}

func cut(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b[:len(b)-n], 0o600))
}

func signature(ts *testscript.TestScript, _ bool, args []string) {
	index, err := strconv.Atoi(args[0])
	ts.Check(err)
	item, err := strconv.Atoi(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	log, err := tiles.Open(ts.MkAbs("log"))
	ts.Check(err)
	all, err := log.Pending()
	ts.Check(err)
	for raw, err := range log.Entries(0) {
		ts.Check(err)
		all = append(all, raw)
	}
	for _, raw := range all {
		h, body, err := ledger.Parse(raw)
		ts.Check(err)
		if o, ok := body.(*ledger.Outcome); ok && h.Index == uint64(index) {
			ts.Check(os.WriteFile(path, o.Items[item].Signature, 0o600))
			return
		}
	}
	ts.Fatalf("entry %d is no outcome", index)
}

func armor(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	var out bytes.Buffer
	w, err := armorer.Encode(&out, "PGP SIGNATURE", map[string]string{"Comment": "test"})
	ts.Check(err)
	_, err = w.Write(b)
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o600))
}

// Every command that does something says how it is used.
func TestEveryCommandHasExamples(t *testing.T) {
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		if c.Runnable() && !c.HasSubCommands() && (c.Example == "" || c.Long == "" || c.Short == "") {
			t.Errorf("%s lacks an example or a description", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(rootCommand())
}
