package station

import (
	"touchmark/appliance/station/past"
	"touchmark/appliance/station/token"
	"touchmark/hostlink/message"
)

// Token is what the station needs of an open token.
type Token = token.Token

func (s *Station) newToken() *token.Keeper {
	return token.New(token.Config{
		Open: s.cfg.Token, Keys: func() []past.Key { return s.past.Keys }, Poll: s.cfg.TokenPoll,
		Changed: s.tokenChanged, PINRefused: s.pinRefused, Say: s.say,
	})
}

// tokenChanged tells the operator of another state of the token.
func (s *Station) tokenChanged(err error) {
	defer func() { s.updates.Keep(s.lacks()) }()
	switch s.token.State() {
	case token.Missing:
		s.log.Warn().Err(err).Msg("token gone")
		s.show("token-missing", "The token is not there. Insert it.")
	case token.Wrong:
		s.log.Error().Err(err).Msg("wrong token")
		s.show("token-wrong", err.Error())
	case token.PIN:
		s.hostEvent(message.EventPINNeeded, 0, 0)
		if !s.clock.Confirmed() {
			s.update() // one question at a time: first the clock
			return
		}
		s.show("pin-needed", askPIN)
	case token.Ready:
		s.log.Info().Msg("token ready")
		s.show("token-ready", "")
	}
}

const askPIN = "Type the token's PIN."

func (s *Station) pinRefused(err error) {
	s.log.Warn().Err(err).Msg("PIN refused")
	s.hostEvent(message.EventPINWrong, 0, 0)
	s.show("pin-wrong", err.Error())
}

// armable reports whether a key can sign now, and tells the operator if not.
func (s *Station) armable(key string) bool {
	switch {
	case s.token.State() != token.Ready:
		s.say("The token is not ready (" + s.token.State() + "): nothing was armed.")
	case !s.token.Holds(key):
		s.say("The token does not hold key " + key + ": insert the one that does. Nothing was armed.")
	default:
		return true
	}
	return false
}
