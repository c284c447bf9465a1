// Package transcript keeps the minutes of a key ceremony: plain text, one line
// for each thing done, for those present to print and sign. It goes into a file
// durably as the ceremony goes on, and never holds a secret.
package transcript

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"touchmark/tpm/ledgerstore/durable"
)

// maxText bounds what a ceremony that is begun again and again writes.
const maxText = 1 << 20

// Transcript is the minutes; a nil one takes nothing.
type Transcript struct {
	path string
	text bytes.Buffer
}

// Absent refuses to overwrite the transcript of another ceremony. "" is none.
func Absent(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists: a transcript is not overwritten", path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Open goes on with the file, or begins it; "" is no transcript.
func Open(path string) (*Transcript, error) {
	if path == "" {
		return nil, nil
	}
	t := &Transcript{path: path}
	before, err := durable.ReadFile(durable.OS, path, maxText)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	t.text.Write(before)
	return t, nil
}

// Empty tells whether nothing was said yet.
func (t *Transcript) Empty() bool { return t != nil && t.text.Len() == 0 }

// Add says one thing.
func (t *Transcript) Add(format string, args ...any) {
	if t != nil {
		fmt.Fprintf(&t.text, format+"\n", args...)
	}
}

// Once is Add for what a resumed ceremony would say again.
func (t *Transcript) Once(format string, args ...any) {
	if t != nil && !strings.Contains(t.text.String(), fmt.Sprintf(format, args...)+"\n") {
		t.Add(format, args...)
	}
}

// Flush makes the file durable.
func (t *Transcript) Flush() error {
	if t == nil {
		return nil
	}
	return durable.WriteFile(t.path, t.text.Bytes(), 0o644)
}

// Stop says why the ceremony ended before its end.
func (t *Transcript) Stop(err error) error {
	t.Add("STOPPED     %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	return t.Flush()
}

// Finish leaves room for signatures.
func (t *Transcript) Finish() error {
	t.Add("done\n\nPresent (name, role, date, signature):\n\n%s", strings.Repeat(strings.Repeat("_", 70)+"\n\n", 3))
	return t.Flush()
}
