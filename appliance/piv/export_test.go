package piv

import "time"

// WhyRefused is whyRefused for a refusal that came after the given time.
func (t *Token) WhyRefused(refusal error, after time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.whyRefused(refusal, after)
}
