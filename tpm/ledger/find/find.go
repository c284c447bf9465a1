// Package find picks entries of a log: what was signed under a name, over a digest,
// for a class or job, of a kind, in a time. With Outcomes an outcome goes with its
// intent: whoever asks for a file learns how it ended.
//
// It reads entries as they come, in order and once, and takes apart only those whose
// bytes can fit: a log of a million entries is looked through at about the speed of
// reading it. What is found is for reading, the entries are what counts.
package find

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// Query says what is looked for; all that is set must hold. The zero value finds
// everything.
type Query struct {
	Name   string   `json:"name,omitempty"`   // of an item; *, ? and [] as in a shell
	Digest string   `json:"digest,omitempty"` // of the same item: its first 8 or more hexadecimal digits, with or without "sha256:"
	Class  string   `json:"class,omitempty"`
	Job    string   `json:"job,omitempty"`   // its first 8 or more digits
	Kinds  []string `json:"kinds,omitempty"` // of entries; none: any
	From   string   `json:"from,omitempty"`  // a time: a day, or RFC 3339
	To     string   `json:"to,omitempty"`    // likewise; before it

	// Outcomes has those found too whose intent is; else what names, digests, classes and jobs are asked of is intents alone.
	Outcomes bool `json:"outcomes,omitempty"`
}

// minHex is how many digits of a digest must be given: fewer would mean too many.
const minHex = 8

// Finder looks through one log.
type Finder struct {
	query    Query
	alg      message.Alg // of the digest, "" for any
	from, to time.Time
	waiting  map[uint64]bool // intents that were found, by index, whose outcome was not seen yet
}

// New checks a query.
func New(q Query) (*Finder, error) {
	f := &Finder{query: q, waiting: map[uint64]bool{}}
	if alg, sum, ok := strings.Cut(q.Digest, ":"); ok {
		f.alg, f.query.Digest = message.Alg(alg), sum
		if sum == "" {
			return nil, fmt.Errorf("digest %q: its digits are missing", q.Digest)
		}
		if !slices.Contains([]message.Alg{message.SHA256, message.SHA384, message.SHA512}, f.alg) {
			return nil, fmt.Errorf("digest %q: the hashes are sha256, sha384 and sha512", q.Digest)
		}
	}
	if _, err := path.Match(q.Name, ""); err != nil {
		return nil, fmt.Errorf("name %q: it is no pattern: *, ? and [] mean what they mean to a shell", q.Name)
	}
	for _, k := range q.Kinds {
		if !slices.Contains(kinds, k) {
			return nil, fmt.Errorf("there is no kind %q, these are: %s", k, strings.Join(kinds, ", "))
		}
	}
	var from, to error
	f.from, from = moment(q.From)
	f.to, to = moment(q.To)
	if err := cmp.Or(hexed("digest", &f.query.Digest), hexed("job", &f.query.Job), from, to); err != nil {
		return nil, err
	}
	return f, nil
}

// hexed checks the beginning of something in hexadecimal digits.
func hexed(what string, s *string) error {
	if *s = strings.ToLower(*s); *s == "" {
		return nil
	}
	if strings.Trim(*s, "0123456789abcdef") != "" || len(*s) < minHex {
		return fmt.Errorf("%s %q: write its first %d or more hexadecimal digits", what, *s, minHex)
	}
	return nil
}

// kinds of entries.
var kinds = []string{
	ledger.KindGenesis, ledger.KindBoot, ledger.KindIntent, ledger.KindOutcome, ledger.KindAttest, ledger.KindUpdate,
	ledger.KindPolicy, ledger.KindKey, ledger.KindCert, ledger.KindTime, ledger.KindResume, ledger.KindNote, ledger.KindClose, ledger.KindImage,
}

// moment reads a time; a day is its first moment, UTC.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is not a time like 2026-05-01 or 2026-05-01T12:00:00Z", s)
	}
	return t, nil
}

// Match reports whether the next entry is one that is looked for.
func (f *Finder) Match(entry []byte) (bool, error) {
	if !f.may(entry) {
		return false, nil
	}
	h, body, err := ledger.Parse(entry)
	if err != nil {
		return false, err
	}
	return f.Holds(h, body), nil
}

// Holds is Match for an entry that was parsed.
func (f *Finder) Holds(h ledger.Header, body any) bool {
	if f.outside(h.Time) || !f.kind(ledger.KindOf(body)) && !f.query.Outcomes {
		return false
	}
	found := !f.byContent()
	switch b := body.(type) {
	case *ledger.Intent:
		found = found || f.intent(b)
		if found && f.query.Outcomes && f.byContent() {
			f.waiting[h.Index] = true
		}
	case *ledger.Outcome:
		found = found || f.waiting[b.Intent]
		delete(f.waiting, b.Intent)
	}
	return found && f.kind(ledger.KindOf(body))
}

// byContent reports whether something of intents is asked for.
func (f *Finder) byContent() bool {
	q := f.query
	return q.Name+q.Digest+q.Class+q.Job != ""
}

var kindLine = []byte(ledger.Domain + "\nkind ")

// may reports whether an entry can be one, from its bytes alone.
func (f *Finder) may(entry []byte) bool {
	kind, _, _ := bytes.Cut(bytes.TrimPrefix(entry, kindLine), []byte("\n"))
	if !f.byContent() {
		return f.kind(string(kind))
	}
	switch string(kind) {
	case ledger.KindOutcome:
		return len(f.waiting) > 0
	case ledger.KindIntent:
		return f.says(entry, f.query.Digest) && f.says(entry, f.query.Job) && f.says(entry, f.query.Class) &&
			(strings.ContainsAny(f.query.Name, `*?[\`) || f.says(entry, f.query.Name))
	}
	return false
}

func (f *Finder) kind(k string) bool {
	return len(f.query.Kinds) == 0 || slices.Contains(f.query.Kinds, k)
}

func (f *Finder) says(entry []byte, what string) bool { return bytes.Contains(entry, []byte(what)) }

func (f *Finder) outside(t time.Time) bool {
	return !f.from.IsZero() && t.Before(f.from) || !f.to.IsZero() && !t.Before(f.to)
}

// intent holds what an intent asks for against the query. An approval that cannot
// be read is of nothing; the auditor finds it.
func (f *Finder) intent(in *ledger.Intent) bool {
	text, err := message.NoteText(in.Approval)
	if err != nil {
		return false
	}
	a, err := message.ParseApproval(text)
	return err == nil && strings.HasPrefix(in.Job.String(), f.query.Job) && (f.query.Class == "" || a.Class == f.query.Class) && slices.ContainsFunc(a.Items, f.item)
}

// item reports whether one and the same item has the name and the digest.
func (f *Finder) item(it message.Item) bool {
	named, err := path.Match(f.query.Name, it.Name)
	return (f.query.Name == "" || named && err == nil) &&
		(f.alg == "" || f.alg == it.Digest.Alg) && strings.HasPrefix(hex.EncodeToString(it.Digest.Sum), f.query.Digest)
}
