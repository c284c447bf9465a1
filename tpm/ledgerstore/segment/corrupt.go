package segment

import (
	"errors"
	"fmt"

	"touchmark/tpm/ledgerstore/durable"
)

// CorruptError says that the log on disk is damaged in a way no crash causes.
// Its text is one line that fits a display and ends with what to do.
type CorruptError struct {
	Path   string
	Offset int64 // in that file
	Reason string
	Remedy string
}

// What to do about damage.
const (
	StartAgain = "start again: then everything is checked, and made good if it can be"
	Restore    = "restore this directory from a mirror or a backup"
)

// Damaged is damage that no new start makes good.
func Damaged(path string, at int64, reason string) *CorruptError {
	return &CorruptError{path, at, reason, Restore}
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s; %s", durable.Shorten(e.Path), e.Offset, e.Reason, e.Remedy)
}

// UnlessCorrupt is err, but nil if that tells of damage.
func UnlessCorrupt(err error) error {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return nil
	}
	return err
}
