package imagepages

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"touchmark/tests/pivemu/vpcdtest"
)

// TestVerifiedBoot runs the lines of "Key and signature": a published boot.img is signed by a key in a file, by
// yubico-piv-tool and by pkcs11-tool on a token, and each time put onto a card, verified, and checked with openssl.
func TestVerifiedBoot(t *testing.T) {
	r := newRig(t, "verified-boot.md")
	for _, name := range []string{"boot.img", "manifest.json"} {
		r.must(os.Rename(r.path("build/image/rpi4/"+name), r.path(name)))
	}
	r.sh(r.lines("key"))
	r.sh(r.lines("sign"))
	r.judge("a key in a file")
	want := r.read("boot.sig")
	if lines := regexp.MustCompile(`\A[0-9a-f]{64}\nts: 1794824220\nrsa2048: [0-9a-f]{512}\n\z`); !lines.MatchString(want) {
		t.Errorf("boot.sig is not in the form of rpi-eeprom-digest:\n%s", want)
	}

	k := r.token()
	k.sh(r.lines("token", "SERIAL", "12345678"))
	r.must(os.Remove(r.path("boot.pem"))) // from here on only the token has it
	for _, program := range []string{"piv-sign", "piv-sign-pkcs11"} {
		r.must(os.WriteFile(r.path(program), []byte(r.lines(program)), 0o755))
		if program == "piv-sign-pkcs11" {
			k.sh(r.lines("certificate", "SERIAL", "12345678"))
		}
		r.must(os.Remove(r.path("boot.sig")))
		before := k.touches()
		k.sh(r.lines("signer", "./piv-sign", "./"+program))
		if got := r.read("boot.sig"); got != want {
			t.Errorf("%s makes another boot.sig than the key in its file:\n%s\n%s", program, got, want)
		}
		if k.touches() == before {
			t.Errorf("%s signed without a touch", program)
		}
		r.judge(program)
	}
	r.all()
}

// judge puts boot.sig onto a card and asks verify and openssl.
func (r *rig) judge(who string) {
	r.t.Helper()
	if said := r.sh(r.lines("assemble")); !strings.Contains(said, "slot A (started): the published build: rpi4 0.1.0, serial 1") {
		r.t.Errorf("%s: the card is not the published build's: %s", who, said)
	}
	if said := r.sh(r.lines("check")); !strings.Contains(said, "Verified OK") {
		r.t.Errorf("%s: openssl says: %s", who, said)
	}
	r.must(os.RemoveAll(r.path("signed")))
}

// token is an emulated YubiKey behind pcscd, with a terminal before it.
type token struct {
	*rig
	box *vpcdtest.Box
	log string
}

func (r *rig) token() *token {
	r.t.Helper()
	dir := r.t.TempDir()
	box, err := vpcdtest.Open(r.ctx, vpcdtest.Options{Dir: dir, Profile: "5.7.1", Touch: "auto", Timeout: time.Hour})
	r.must(err)
	r.t.Cleanup(func() {
		if err := box.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return &token{r, box, dir + "/apdu.log"}
}

// touches is how often the token was touched.
func (k *token) touches() int {
	k.t.Helper()
	log, err := os.ReadFile(k.log)
	k.must(err)
	return bytes.Count(log, []byte("touched"))
}

// answers are what is typed when a program asks.
var answers = []struct {
	asks *regexp.Regexp
	say  string
}{
	{regexp.MustCompile(`(?i)management key[^\n]*: ?$`), "\n"},
	{regexp.MustCompile(`(?i)PIN[^\n]*: ?$`), "123456\n"},
}

// sh runs lines beside the token, on a terminal at which somebody answers.
func (k *token) sh(lines string) {
	k.t.Helper()
	c := k.box.Command(k.ctx, k.dir, "bash", "-euo", "pipefail", "-c", lines)
	for _, v := range k.env {
		if !strings.HasPrefix(v, "PIVEMU_") {
			c.Env = append(c.Env, v)
		}
	}
	terminal, err := pty.Start(c)
	k.must(err)
	defer terminal.Close()
	defer context.AfterFunc(k.ctx, func() { _ = terminal.Close() })() // what was started beside the token may go on holding the terminal
	var said, line []byte
	buf := make([]byte, 4096)
	for err == nil {
		var n int
		n, err = terminal.Read(buf)
		said, line = append(said, buf[:n]...), append(line, buf[:n]...)
		for _, a := range answers {
			if a.asks.Match(line) {
				k.hidden(terminal)
				_, writeErr := io.WriteString(terminal, a.say)
				k.must(writeErr)
				line = nil
			}
		}
	}
	if k.ctx.Err() != nil {
		k.t.Fatalf("not within %s: %s", patience, said)
	}
	if !errors.Is(err, syscall.EIO) && !errors.Is(err, io.EOF) { // EIO: nobody has the terminal any more
		k.t.Fatalf("%v: %s", err, said)
	}
	if err := c.Wait(); err != nil {
		k.t.Fatalf("%v:\n%s\n%s", err, lines, said)
	}
}

// hidden waits until a terminal shows no more what is typed: programs say what they ask for, then switch that off, and
// with it throw away what was typed before.
func (k *token) hidden(terminal *os.File) {
	k.t.Helper()
	conn, err := terminal.SyscallConn() // Fd would have reads go on when the terminal is closed
	k.must(err)
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for shown := true; shown && k.ctx.Err() == nil; <-ticker.C {
		k.must(conn.Control(func(fd uintptr) {
			var settings *unix.Termios
			if settings, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
				shown = settings.Lflag&unix.ECHO != 0
			}
		}))
		k.must(err)
	}
}

// pollEvery is how often a terminal's settings are looked at: nobody tells of a change.
const pollEvery = 5 * time.Millisecond
