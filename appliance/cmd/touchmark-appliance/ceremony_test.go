package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"touchmark/appliance/boot"
)

// boardsOwn are the flags that a stick cannot give: the board does, or they are for
// machines that are no board.
var boardsOwn = map[string]bool{"dir": true, "tpm": true, "operator": true, "help": true, "reader": true, "token-socket": true}

// TestCeremoniesHaveAllFlags: what a stick can ask a board for (package boot) are the
// flags of the commands as they are.
func TestCeremoniesHaveAllFlags(t *testing.T) {
	for _, name := range []string{"enroll", "token-key new", "answer", "restore-log-key"} {
		c, _, err := rootCommand().Find(strings.Fields(name))
		if err != nil {
			t.Fatal(err)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			value := " x"
			if f.Value.Type() == "bool" {
				value = ""
			}
			_, err := boot.ParseCeremony([]byte("touchmark/ceremony/v1\n" + name + "\n" + f.Name + value + "\n"))
			if (err != nil) != boardsOwn[f.Name] {
				t.Errorf("%s --%s on a stick: %v", name, f.Name, err)
			}
		})
		asked(t, c, name)
	}
}

// asked: the arguments that a ceremony gives are ones that the command takes.
func asked(t *testing.T, c *cobra.Command, name string) {
	t.Helper()
	ceremony, err := boot.ParseCeremony([]byte("touchmark/ceremony/v1\n" + name + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	args := ceremony.Args("/media/stick", boot.Board{Dir: "/data/board", TPM: "/dev/tpmrm0", Operator: "console"})
	if err := c.ParseFlags(args[len(strings.Fields(name)):]); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
