//go:build realtoken

package piv_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"touchmark/appliance/piv"
)

var wipe = flag.Uint("piv-wipe-real-token", 0, "serial number of a token with the factory's PIN, PUK and management key, whose key in slot 9c is destroyed")

// A real token does what the emulated one does; somebody has to be there and do
// what is printed. CONTRIBUTING.md says how to run it.
func TestRealToken(t *testing.T) {
	if *wipe == 0 {
		t.Fatal("this build is for a token that may be wiped: say which one with -piv-wipe-real-token SERIAL")
	}
	open := func() *piv.Token {
		tok, err := piv.Open(piv.Options{Serial: uint32(*wipe)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tok.Close() })
		return tok
	}
	tok := open()
	firmware := tok.Info().Firmware
	if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
	alg := "p256"
	if strings.HasPrefix(firmware, "4.") || strings.HasPrefix(firmware, "5.4.") || strings.HasPrefix(firmware, "5.2.") {
		alg = "rsa2048" // EUCLEAK
	}
	in := bufio.NewReader(os.Stdin)
	rounds(t, hands{
		open:  open,
		touch: func(sign func()) { fmt.Fprintln(os.Stderr, ">>> TOUCH the token"); sign() },
		still: func(sign func()) { fmt.Fprintln(os.Stderr, ">>> Do NOT touch it: wait 15 seconds"); sign() },
		swap: func() {
			fmt.Fprintln(os.Stderr, ">>> Pull the token, plug it in again, press Enter")
			if _, err := in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		},
	}, alg, true)
}
