package order

import (
	"bytes"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// After is the log that a checkpoint is of, and its state then: what an order names
// whose authors know the log by this checkpoint. Its signatures are not checked.
func After(checkpoint []byte) (origin string, s State, err error) {
	body, err := message.NoteText(checkpoint)
	if err != nil {
		return "", State{}, err
	}
	origin, s.Size, s.Root, err = ledger.ParseCheckpointBody(body)
	return origin, s, err
}

// Sign adds a signature to an order: to its text, or to the note that it is already.
// What is no order is refused.
func Sign(msg []byte, s note.Signer) ([]byte, error) {
	text, sign := msg, message.SignNote
	if bytes.Contains(msg, []byte("\n\n\u2014 ")) { // how the signatures of a note begin (C2SP signed-note)
		var err error
		if text, err = message.NoteText(msg); err != nil {
			return nil, err
		}
		sign = message.CosignNote
	}
	if _, err := Parse(text); err != nil {
		return nil, err
	}
	return sign(msg, s)
}
