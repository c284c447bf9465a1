package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/policy/document"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
)

// Grant says under which class and with which keys a request may be signed and
// what then remains of its rates.
type Grant struct {
	Class     string
	Keys      []Key  // any of them, the one to be preferred first
	Remaining int    // smallest rest of any rate after this request
	RateText  string // "57 of 60/1h left": the rate with the smallest rest
}

// Admit decides whether a request may be signed at time now, given what was
// signed before. now counts in whole seconds, like every time in the log, so
// that the auditor's replay with an entry's time decides the same. The
// appliance asks when a request arrives and again with the intent's time when
// it is armed. The error is a *Refusal.
func (p *Policy) Admit(r *Request, h *History, now time.Time) (*Grant, error) {
	now = now.UTC().Truncate(time.Second)
	c, ok := p.Class(r.Approval.Class)
	if !ok {
		return nil, refuse(message.CodeUnknownClass, "the policy has no class %q%s", r.Approval.Class, document.DidYouMean(r.Approval.Class, p.classNames()))
	}
	if err := c.admits(r); err != nil {
		return nil, err
	}
	keys, ok := p.keysOf(c)
	if !ok {
		return nil, refuse(message.CodeHalted, "class %s names no key of this policy", c.Name)
	}
	all := slices.Clone(keys)
	if keys = suited(keys, r.Approval.Items); len(keys) == 0 {
		return nil, refuse(message.CodeHashForbidden, "class %s has no key that signs over such a hash: hash with %s", c.Name, hashesFor(all, r.Approval.Items[0].Format))
	}
	if err := p.timely(r, now); err != nil {
		return nil, err
	}
	rest, rate, err := c.remaining(h, now, len(r.Approval.Items))
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%d of %s left", rest, rate.Text)
	return &Grant{Class: c.Name, Keys: keys, Remaining: rest, RateText: text}, nil
}

// suited are the keys whose signatures over every item's hash tools accept.
func suited(keys []Key, items []message.Item) []Key {
	return slices.DeleteFunc(keys, func(k Key) bool {
		return slices.ContainsFunc(items, func(it message.Item) bool {
			f, ok := sigformat.FormatOf(it.Format)
			return !ok || f.Signs(k.Algorithm, it.Digest.Alg) != nil
		})
	})
}

// hashesFor are those that one of the keys at least takes for a format.
func hashesFor(keys []Key, format string) string {
	f, _ := sigformat.FormatOf(format)
	var goes []string
	for _, alg := range message.Algs() {
		if slices.ContainsFunc(keys, func(k Key) bool { return f.Signs(k.Algorithm, alg) == nil }) {
			goes = append(goes, string(alg))
		}
	}
	return strings.Join(goes, " or ")
}

// admits checks everything that does not depend on time.
func (c *Class) admits(r *Request) error {
	items := r.Approval.Items
	switch {
	case !slices.Contains(c.Hosts, r.Host):
		return refuse(message.CodeHostForbidden, "host %s may not use class %s: add it to the class's hosts", r.Host, c.Name)
	case len(items) > c.Batch:
		return refuse(message.CodeBatchTooLarge, "%d items at once, class %s allows %d: split the batch", len(items), c.Name, c.Batch)
	case len(items) == 0:
		return refuse(message.CodeBadMessage, "nothing to sign")
	case len(r.Persons) < c.Approvals:
		return refuse(message.CodeApprovalsMissing, "%s; class %s needs %d: have it approved with \"touchmark approve\"", approvedBy(r.Persons), c.Name, c.Approvals)
	}
	return c.Takes(items)
}

// Takes checks what can be said of items before anybody has hashed them: formats,
// names and sizes (bytes). The error is a *Refusal.
func (c *Class) Takes(items []message.Item) error {
	for _, it := range items {
		if err := c.admitsItem(it); err != nil {
			return err
		}
	}
	return nil
}

func (c *Class) admitsItem(it message.Item) error {
	switch {
	case !slices.Contains(c.Formats, it.Format):
		return refuse(message.CodeFormatForbidden, "%s: class %s does not sign %s, but %s", it.Name, c.Name, it.Format, strings.Join(c.Formats, ", "))
	case message.ValidName(it.Name) != nil || !c.matches(it.Name):
		return refuse(message.CodeNameForbidden, "%s: class %s signs only %s", it.Name, c.Name, strings.Join(c.Names, ", "))
	case it.Size > c.MaxSize:
		return refuse(message.CodeTooLarge, "%s: %d bytes, class %s allows %d", it.Name, it.Size, c.Name, c.MaxSize)
	case it.Size > message.MaxDocument && c.Demands(it.Format):
		return refuse(message.CodeDocumentMissing, "%s: class %s takes %s as documents only, and %d bytes are none: at most %d are", it.Name, c.Name, it.Format, it.Size, message.MaxDocument)
	}
	return nil
}

func approvedBy(persons []string) string {
	if len(persons) == 0 {
		return "approved by nobody"
	}
	return "approved by " + strings.Join(persons, ", ")
}

func (p *Policy) timely(r *Request, now time.Time) error {
	validity := r.Approval.NotAfter.Sub(now)
	switch {
	case r.Submission.HostTime.Sub(now) > p.MaxSkew:
		return p.skewed(r, now)
	case validity < 0:
		return refuse(message.CodeExpired, "the approval was good until %s, it is %s: ask again", clock(r.Approval.NotAfter), clock(now))
	case validity > p.MaxValidity:
		return refuse(message.CodeNotAfterTooFar, "the approval is good until %s, more than %s ahead: use an earlier not-after", clock(r.Approval.NotAfter), p.MaxValidity)
	}
	return nil
}

// Fresh decides whether a submission that arrives now was made now, give or
// take the policy's max_skew. Only the appliance asks, at arrival: a job may
// wait on the display for longer than clocks may differ. The error is a
// *Refusal.
func (p *Policy) Fresh(r *Request, now time.Time) error {
	if now.UTC().Truncate(time.Second).Sub(r.Submission.HostTime) > p.MaxSkew {
		return p.skewed(r, now)
	}
	return nil
}

func (p *Policy) skewed(r *Request, now time.Time) error {
	return refuse(message.CodeClockSkew, "the host's clock is %s, this appliance's is %s, more than %s apart: set the wrong one", clock(r.Submission.HostTime), clock(now), p.MaxSkew)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// remaining returns the smallest rest of any rate after items more.
func (c *Class) remaining(h *History, now time.Time, items int) (int, Rate, error) {
	least, which := MaxCount, Rate{}
	for _, rate := range c.Rates {
		used := h.Count(c.Name, now.Add(-rate.Window))
		rest := rate.Count - used - items
		if rest < 0 {
			return 0, rate, refuse(message.CodeRateExceeded, "class %s allows %s, %d are used and %d asked for: %s", c.Name, rate.Text, used, items, h.freeAgain(c.Name, rate, items))
		}
		if rest <= least {
			least, which = rest, rate
		}
	}
	return least, which, nil
}

func (p *Policy) classNames() []string {
	names := make([]string, len(p.Classes))
	for i, c := range p.Classes {
		names[i] = c.Name
	}
	return names
}
