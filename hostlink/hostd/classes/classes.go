// Package classes finds the class of the policy that files are asked to be signed in, and says what it has against them. It
// says it with the policy's own functions; the appliance decides when it is asked. The package is pure.
package classes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
)

// ErrMixed is for files that no one class is for.
var ErrMixed = errors.New("these files belong to different classes of the policy: sign them in separate calls")

// Choose gives the name of the class that the holder of key asks for: the one named, or, if that is empty, the first in the
// policy's order that fits all items. Errors say what the policy has against it, or are ErrMixed.
func Choose(p *policy.Policy, key note.Signer, named string, items []message.Item) (string, error) {
	if named != "" {
		if _, ok := p.Class(named); !ok {
			return "", fmt.Errorf("the policy has no class %q: it has %s", named, strings.Join(names(p), ", "))
		}
		return named, nil
	}
	host, ok := holder(p, key)
	if !ok {
		return "", fmt.Errorf("the policy does not know this host's key %s: have the administrators add it", key.Name())
	}
	var common []string
	for i, it := range items {
		fits := p.ClassesFor(host, it.Format, it.Name)
		if len(fits) == 0 {
			return "", fmt.Errorf("no class of the policy lets host %s have %s signed as %s: take another format, rename the file or have the policy changed", host, it.Name, it.Format)
		}
		if i == 0 {
			common = fits
		} else {
			common = slices.DeleteFunc(common, func(c string) bool { return !slices.Contains(fits, c) })
		}
	}
	if len(common) == 0 {
		return "", ErrMixed
	}
	return common[0], nil
}

// May says what the policy has against files, as far as names, formats and sizes tell, so that no large one is hashed in vain.
// Errors are as of Choose.
func May(p *policy.Policy, key note.Signer, named string, items []message.Item) error {
	name, err := Choose(p, key, named, items)
	if err != nil {
		return err
	}
	c, _ := p.Class(name)
	if err := c.Takes(items); err != nil {
		return fmt.Errorf("the policy refuses: %w", err)
	}
	return nil
}

func names(p *policy.Policy) (out []string) {
	for _, c := range p.Classes {
		out = append(out, c.Name)
	}
	return out
}

// holder is what the policy calls the holder of a key.
func holder(p *policy.Policy, key note.Signer) (string, bool) {
	for _, h := range p.Hosts {
		if h.Key.Name() == key.Name() && h.Key.KeyHash() == key.KeyHash() {
			return h.Name, true
		}
	}
	return "", false
}
