package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"touchmark/tpm/ledgerstore/durable"
)

// Evidence says that the appliance's log contradicts what this host verified
// before. It is an error that no retry mends, unless it is hearsay.
type Evidence struct {
	Kind    string            // checkpoint-differs, job-twice, entry-differs, …
	Text    string            // one line
	Raw     map[string][]byte // what was seen, to be kept
	Hearsay bool              // nobody signed it: it may come from the cable
}

func (e *Evidence) Error() string { return e.Text }

// Contradiction makes an Evidence of what the appliance signed.
func Contradiction(kind string, raw map[string][]byte, format string, a ...any) *Evidence {
	return &Evidence{Kind: kind, Text: fmt.Sprintf(format, a...), Raw: raw}
}

// Hearsay makes an Evidence of what only came over the link.
func Hearsay(kind string, raw map[string][]byte, format string, a ...any) *Evidence {
	return &Evidence{Kind: kind, Text: fmt.Sprintf(format, a...), Raw: raw, Hearsay: true}
}

// evidenceFile in the state directory stops all signing while it exists.
const evidenceFile = "EVIDENCE"

// LoadEvidence gives the line that says why nothing may be signed, "" if there
// is no such record.
func LoadEvidence(state string) (string, error) {
	b, err := os.ReadFile(filepath.Join(state, evidenceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line, nil
}

// Save keeps what was seen. The first contradiction stays in the file EVIDENCE;
// later ones add their material beside it. Of hearsay the newest of each kind is
// kept, so that a forger cannot fill the disk, and it stops nothing.
func (e *Evidence) Save(state string, now time.Time) error {
	var errs []error
	if e.Hearsay {
		for name, b := range e.Raw {
			path := filepath.Join(state, fmt.Sprintf("hearsay-%s-%s", e.Kind, name))
			errs = append(errs, durable.WriteFile(path, b, 0o600))
		}
		return errors.Join(errs...)
	}
	stamp := now.Format("20060102T150405Z")
	for name, b := range e.Raw {
		path := filepath.Join(state, fmt.Sprintf("evidence-%s-%s-%s", stamp, e.Kind, name))
		errs = append(errs, durable.WriteFile(path, b, 0o600))
	}
	path := filepath.Join(state, evidenceFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		text := fmt.Sprintf("%s\n%s %s\n", e.Text, stamp, e.Kind)
		errs = append(errs, durable.WriteFile(path, []byte(text), 0o600))
	}
	return errors.Join(errs...)
}
