package station

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
)

// LogKeys are the private halves of log keys that the board has: of the one in
// force, and maybe of one that administrators are to order in its place.
type LogKeys interface {
	// Origin is the log's name, which the keys have too; "" without a key.
	Origin() string
	// Find gives the signer of a note verifier key.
	Find(public string) (note.Signer, error)
	// Keep is told which key is in force, and removes, durably, the one that it
	// replaced. It is told again at every start.
	Keep(public string) error
}

// FixedLogKey are the keys of a board that has one and gets no other.
func FixedLogKey(key note.Signer) LogKeys { return fixedKey{key} }

type fixedKey struct{ key note.Signer }

func (f fixedKey) Origin() string { return f.key.Name() }

func (f fixedKey) Find(public string) (note.Signer, error) {
	v, err := message.ParseKey(public)
	if err == nil && (v.Name() != f.key.Name() || v.KeyHash() != f.key.KeyHash()) {
		err = fmt.Errorf("the log key is %s+%08x, wanted is %s", f.key.Name(), f.key.KeyHash(), public)
	}
	return f.key, err
}

func (f fixedKey) Keep(string) error { return nil }

// keepLogKey removes the log key that was replaced. That it stays harms nothing
// but its secrecy, and the next start tries again.
func (s *Station) keepLogKey() {
	if err := s.cfg.LogKeys.Keep(s.past.LogKey); err != nil {
		s.log.Error().Err(err).Msg("removing the log key that was replaced")
	}
}
