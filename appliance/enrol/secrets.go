package enrol

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"touchmark/appliance/operator"
	"touchmark/appliance/piv"
)

// secret is one of the two that people type.
type secret struct {
	name    string
	of      string // the token
	factory string // what a new token has, known to everybody
	set     func(old, new []byte) error
}

// setSecrets has the operator choose PIN and PUK of the token. Neither is
// written down anywhere.
func (c *ceremony) setSecrets(ctx context.Context) error {
	if !c.SetPIN {
		c.words.Once("PIN and PUK of the token: left as they were")
		return nil
	}
	if !c.state.Secrets {
		if err := c.typeSecrets(ctx); err != nil {
			return err
		}
		c.state.Secrets = true
		if err := c.save(); err != nil {
			return err
		}
	}
	c.words.Once("PIN and PUK of the token: set by the operator")
	return nil
}

// typeSecrets has the tokens take what the operator types.
func (c *ceremony) typeSecrets(ctx context.Context) error {
	for _, t := range c.tokens() {
		of := c.called(t)
		for _, s := range []secret{{"PIN", of, "123456", t.SetPIN}, {"PUK", of, "12345678", t.SetPUK}} {
			if err := c.change(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// change asks until the token has taken a new secret, or one more try could be
// the last.
func (c *ceremony) change(ctx context.Context, s secret) error {
	event, text := "pin-needed", ""
	for {
		err := c.changeOnce(ctx, s, event, text)
		var wrong *piv.PINError
		var again *againError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &wrong) && wrong.Retries > 1, errors.As(err, &again):
			event, text = "pin-wrong", err.Error()+". "
		default:
			return err
		}
	}
}

// againError says what was wrong with what was typed, before the token saw it.
type againError struct{ string }

func (e *againError) Error() string { return e.string }

func (c *ceremony) changeOnce(ctx context.Context, s secret, event, text string) error {
	var typed [3][]byte
	defer func() {
		for _, b := range typed {
			clear(b)
		}
	}()
	for i, what := range []string{
		"Type the present " + s.name + " of " + s.of + " (if it is new: " + s.factory + ").",
		"Type the " + s.name + " that " + s.of + " shall have: 6 to 8 characters.",
		"Type the new " + s.name + " again.",
	} {
		var err error
		if typed[i], err = c.secret(ctx, event, text+what); err != nil {
			return err
		}
		event, text = "pin-needed", ""
	}
	old, new := typed[0], typed[1]
	switch {
	case !bytes.Equal(new, typed[2]):
		return &againError{"The two differ"}
	case string(new) == s.factory:
		return &againError{"That is the factory's " + s.name + ", which everybody knows"}
	case len(new) < 6 || len(new) > 8:
		return &againError{"A " + s.name + " has 6 to 8 characters"}
	}
	return s.set(old, new)
}

// secret has the operator type a secret, which the caller zeroes.
func (c *ceremony) secret(ctx context.Context, event, text string) ([]byte, error) {
	c.ask(event, operator.AskPIN, text)
	for {
		cmd, err := c.command(ctx)
		if err != nil || cmd.Verb == operator.PIN {
			return cmd.PIN, err
		}
		clear(cmd.PIN)
	}
}

// unlock asks for a token's PIN until it is right, refused for good, or the operator
// leaves.
func (c *ceremony) unlock(ctx context.Context, t *piv.Token) error {
	if t.PINVerified() {
		return nil
	}
	event, text := "pin-needed", "Type the PIN of "+c.called(t)+"."
	for {
		pin, err := c.secret(ctx, event, text)
		if err != nil {
			return err
		}
		err = t.VerifyPIN(pin)
		clear(pin)
		if err == nil || errors.Is(err, piv.ErrLastTry) {
			return err
		}
		event, text = "pin-wrong", err.Error()
	}
}
