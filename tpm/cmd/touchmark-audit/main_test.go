package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts work on copies of the example log. "audit CODE ARGS" runs the
// command, wants that exit code and leaves everything it printed in the file
// out; arguments that begin with ./ are paths. "flip FILE OFFSET" changes a
// bit, "cut FILE N" drops the last N bytes.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			return os.CopyFS(env.WorkDir, os.DirFS("../../audit/testdata/example"))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"audit": auditCmd, "flip": flip, "cut": cut,
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

func flip(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

func cut(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b[:len(b)-n], 0o600))
}
