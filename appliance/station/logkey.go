package station

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/order"
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

// fitsKey says why the log key that is ordered cannot be the next, or the token's
// key none of this log's.
func (s *Station) fitsKey(k *order.Key) error {
	if k.Token != nil {
		if err := s.past.Join(&past.Law{Policy: s.past.Policy, Keys: s.past.Keys}, k.Token); err != nil {
			return intake.Refuse(message.CodeBadMessage, "%v", err)
		}
		return nil
	}
	if k.LogKey == s.past.LogKey {
		return intake.Refuse(message.CodeBadMessage, "this is the log key in force")
	}
	if _, err := s.cfg.LogKeys.Find(k.LogKey); err != nil {
		return intake.Refuse(message.CodeBadMessage, "this board has not the private half of that log key, make it here ('touchmark-appliance log-key new') and order that one: %v", err)
	}
	return nil
}

// possess adds to a key order the signature of the log key that it brings, if
// this board has it: that is what shows that it does; or says why it cannot. A
// note that it cannot be added to, or that has it, stays as it is, for order.Open
// to judge.
func (s *Station) possess(raw []byte, o *order.Order) ([]byte, error) {
	k, ok := o.Action.(*order.Key)
	if !ok || k.Token != nil {
		return raw, nil
	}
	signer, err := s.cfg.LogKeys.Find(k.LogKey)
	if err != nil {
		return raw, fmt.Errorf("this board cannot sign it with that key: %w", err)
	}
	if signed, err := message.CosignNote(raw, signer); err == nil {
		return signed, nil
	}
	return raw, nil
}

// keepLogKey removes the log key that was replaced. That it stays harms nothing
// but its secrecy, and the next start tries again.
func (s *Station) keepLogKey() {
	if err := s.cfg.LogKeys.Keep(s.past.LogKey); err != nil {
		s.log.Error().Err(err).Msg("removing the log key that was replaced")
	}
}
