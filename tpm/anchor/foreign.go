package anchor

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// AttestedCheckpoint reads a checkpoint by a log key that t does not name:
// administrators may have put it into the log since t was written. Only the
// TPM's line is verified, and so size, root and HEAD; whether that log key was
// in force is for the log to say. A checkpoint by a key that t names is an error
// here: open that with OpenCheckpoint.
func (t *Trust) AttestedCheckpoint(msg []byte) (*Checkpoint, error) {
	known, line, err := t.lines(msg)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(msg, note.VerifierList(line))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if len(n.UnverifiedSigs) != 1 || n.UnverifiedSigs[0].Name != t.Origin {
		return nil, errors.New("checkpoint: it needs both the log key's and the TPM's signature line")
	}
	if slices.ContainsFunc(known, func(v note.Verifier) bool { return v.KeyHash() == n.UnverifiedSigs[0].Hash }) {
		return nil, errors.New("checkpoint: it is by a log key of the trust file")
	}
	return t.checkpoint([]byte(n.Text), line)
}
