package enrol

import (
	"context"
	"fmt"
	"time"

	"touchmark/appliance/enrol/progress"
	"touchmark/appliance/operator"
	"touchmark/appliance/piv"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/tokenkey"
)

// Joining is what the record of a key that is to join a log is made of.
type Joining struct {
	Policy    []byte // note with a [[key]] table of the name; nobody's signatures are asked for
	Name      string
	UserID    string       // of the OpenPGP certificate, if the family has one
	Expires   time.Time    // of it; zero: never
	SetPIN    bool         // the operator sets the token's PIN and PUK
	Replace   bool         // destroy a key that is in the slot
	Revoke    *Revocations // its revocation certificate; nil makes none
	Manage    *Management  // the token's new management key; nil leaves it
	Managed   []byte       // the token's present management key; nil: the factory's
	Throwaway bool         // an emulated token is good enough; nothing is asked
	Token     *piv.Token
	Panel     operator.Panel
	Now       time.Time // whole seconds
}

// TokenKey has a token make a key that is to join a log, and certify it by a touch.
// Administrators order the log to take it (docs/spec/ledger.md §1.9). Nothing is
// written down: one that was cut short is begun again with Replace.
func TokenKey(ctx context.Context, j Joining) (*ledger.TokenKey, error) {
	text, err := message.NoteText(j.Policy)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p, err := policy.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	named, ok := p.Key(j.Name)
	if !ok {
		return nil, fmt.Errorf("the policy has no [[key]] of the name %q", j.Name)
	}
	if sigformat.Certified(named.Family, named.Algorithm) {
		if err := certificate.CheckUserID(j.UserID); err != nil {
			return nil, fmt.Errorf("user id: %w", err)
		}
	}
	if !j.Throwaway && j.Token.Info().Emulated {
		return nil, fmt.Errorf("the token's attestation does not lead to Yubico: %w", ErrThrowaway)
	}
	c := &ceremony{policy: p, Config: Config{UserID: j.UserID, Expires: j.Expires, Revocations: j.Revoke, SetPIN: j.SetPIN, Replace: j.Replace, Manage: j.Manage, Throwaway: j.Throwaway, Token: j.Token, Panel: j.Panel, Now: j.Now}, managed: j.Managed}
	k := &key{Key: *named, token: j.Token, state: new(progress.Key)}
	c.keys = []*key{k}
	if err := c.makeJoining(ctx); err != nil {
		return nil, err
	}
	record, err := k.record()
	if err != nil {
		return nil, err
	}
	if _, err := tokenkey.Attested(record, nil); err != nil {
		return nil, err
	}
	c.say("token-key", fmt.Sprintf("Token %d has made key %s. Fingerprint %X. Have the administrators order it.", record.Token.Serial, j.Name, record.Fingerprint))
	return record, nil
}

// makeJoining are the steps of a ceremony that concern the token alone.
func (c *ceremony) makeJoining(ctx context.Context) error {
	steps := []func(context.Context) error{c.makeKeys, c.setManagementKeys, c.certify, c.revocations}
	if c.SetPIN {
		steps = append([]func(context.Context) error{c.typeSecrets}, steps...)
	}
	for _, do := range steps {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}
