package enrol

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"touchmark/tpm/ledgerstore/durable"
)

// maxTranscript bounds what a ceremony that is begun again and again writes.
const maxTranscript = 1 << 20

// transcript is what is printed and signed by those present: plain text, one
// line for each thing done. It never holds a secret. A nil one takes nothing.
type transcript struct {
	path string
	text bytes.Buffer
}

// newTranscript refuses to overwrite one of another ceremony.
func (c *ceremony) newTranscript() error {
	if c.Transcript == "" {
		return nil
	}
	if _, err := os.Stat(c.Transcript); err == nil {
		return fmt.Errorf("%s exists: a transcript is not overwritten", c.Transcript)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// openTranscript begins the file, or goes on with that of a ceremony that is
// resumed.
func (c *ceremony) openTranscript(resumed bool) error {
	if c.Transcript == "" {
		return nil
	}
	t := &transcript{path: c.Transcript}
	before, err := durable.ReadFile(durable.OS, t.path, maxTranscript)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	t.text.Write(before)
	c.words = t
	if len(before) == 0 {
		c.head(t)
	}
	if resumed {
		t.add("RESUMED")
	}
	return t.flush()
}

// head says what goes into the ceremony.
func (c *ceremony) head(t *transcript) {
	t.add("Touchmark key ceremony of %s", c.policy.Origin)
	t.add("begun       %s", c.Now.UTC().Format("2006-01-02 15:04:05 UTC"))
	if c.Throwaway {
		t.add("THROWAWAY: for tests only, nothing of this is to be relied on")
	}
	t.add("policy      SHA-256 of the note %x", c.state.policy)
	t.add("auditor     nonce %x", c.Nonce)
	if p := c.state.predecessor; p.Origin != "" {
		t.add("predecessor %s, genesis %x", p.Origin, p.Genesis)
	}
}

func (t *transcript) add(format string, args ...any) {
	if t != nil {
		fmt.Fprintf(&t.text, format+"\n", args...)
	}
}

// once is add for what a resumed ceremony would say again.
func (t *transcript) once(format string, args ...any) {
	if t != nil && !strings.Contains(t.text.String(), fmt.Sprintf(format, args...)+"\n") {
		t.add(format, args...)
	}
}

func (t *transcript) flush() error {
	if t == nil {
		return nil
	}
	return durable.WriteFile(t.path, t.text.Bytes(), 0o644)
}

// stop says why the ceremony ended before its end.
func (t *transcript) stop(err error) error {
	t.add("STOPPED     %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	return t.flush()
}

// finish leaves room for signatures.
func (t *transcript) finish() error {
	t.add("done\n\nPresent (name, role, date, signature):\n\n%s", strings.Repeat(strings.Repeat("_", 70)+"\n\n", 3))
	return t.flush()
}
