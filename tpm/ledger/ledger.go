// Package ledger holds the bytes of Touchmark's log: entries, their leaf
// hashes, checkpoints and inclusion proofs.
//
// An entry is a canonical text (package canon):
//
//	touchmark/entry/v1
//	kind genesis|boot|intent|outcome|attest|policy|key|cert|time|resume|note|close|image|update
//	index I
//	time T
//	...                     lines of the kind, in fixed order
//
// The log is the Merkle tree of RFC 6962 section 2.1 with SHA-256 over whole
// entries. A checkpoint body is the three lines of C2SP tlog-checkpoint:
// origin, size, base64 root. A proof is a canonical text touchmark/proof/v1.
// docs/spec/ledger.md and docs/spec/proof.md describe every byte.
//
// Guarantees: parsing and marshalling again gives the same bytes; what does
// not parse is refused as a whole, with a reason. The package checks form
// only. What entries mean together is checked by packages anchor and audit.
// It is pure.
//
// Compatibility: kinds are added, never changed; an unknown kind is refused.
package ledger

import (
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/hostlink/message/canon"
)

// Domain is the first line of every entry.
const Domain = "touchmark/entry/v1"

// Kinds of entries that this version writes and accepts.
const (
	KindGenesis = "genesis"
	KindBoot    = "boot"
	KindIntent  = "intent"
	KindOutcome = "outcome"
	KindAttest  = "attest"
	KindUpdate  = "update"

	// The administrative ones: an order or a policy signed by the
	// administrators.
	KindPolicy = "policy" // another policy
	KindKey    = "key"    // another log key
	KindCert   = "cert"   // the token certifies its key anew, or revokes it
	KindTime   = "time"   // the clock is set back, or far ahead
	KindResume = "resume" // the way out of a halt state
	KindNote   = "note"   // words that shall stand in the log
	KindClose  = "close"  // the end of the log
	KindImage  = "image"  // another image of the board's operating system
)

// Header is what all entries begin with. Index is the entry's position in the
// log, counted from 0; Time is the appliance's clock in UTC, whole seconds.
type Header struct {
	Index uint64
	Time  time.Time
}

// body is one kind of entry.
type body interface {
	kind() string
	write(w *canon.Writer)
	read(r *canon.Reader)
}

// Marshal encodes an entry. The body is a *Genesis, *Boot, *Intent, *Outcome,
// *Attest, *Update or *Order. Whatever Parse would refuse, Marshal refuses too.
func Marshal(h Header, b any) ([]byte, error) {
	e, ok := b.(body)
	if !ok {
		return nil, fmt.Errorf("%T is not the body of a log entry", b)
	}
	w := canon.NewWriter(Domain)
	w.Line("kind", e.kind())
	w.Line("index", canon.Uint(h.Index))
	w.Line("time", canon.Time(h.Time))
	e.write(w)
	text := w.Bytes()
	if text == nil {
		return nil, fmt.Errorf("%s entry: %w", e.kind(), w.Err())
	}
	if _, _, err := Parse(text); err != nil {
		return nil, fmt.Errorf("%s entry: %w", e.kind(), err)
	}
	return text, nil
}

// Parse decodes an entry; the second result is a *Genesis, *Boot, *Intent,
// *Outcome, *Attest, *Update or *Order.
func Parse(text []byte) (Header, any, error) {
	if len(text) > MaxEntry {
		return Header{}, nil, fmt.Errorf("entry of %d bytes, at most %d", len(text), MaxEntry)
	}
	r := canon.NewReader(text, Domain)
	b := newBody(r)
	h := Header{Index: r.Uint(r.Line("index", 1)[0], MaxSize-1), Time: r.Time(r.Line("time", 1)[0])}
	if r.Err() == nil {
		b.read(r)
	}
	if err := r.Close(); err != nil {
		return Header{}, nil, err
	}
	return h, b, nil
}

func newBody(r *canon.Reader) body {
	kind := r.Line("kind", 1)[0]
	switch kind {
	case KindGenesis:
		return new(Genesis)
	case KindBoot:
		return new(Boot)
	case KindIntent:
		return new(Intent)
	case KindOutcome:
		return new(Outcome)
	case KindAttest:
		return new(Attest)
	case KindUpdate:
		return new(Update)
	}
	if administrative(kind) {
		return &Order{Action: kind}
	}
	r.Failf("kind %q is unknown to this version", kind)
	return nil
}

// KindOf names the kind of a parsed body, "" for anything else.
func KindOf(b any) string {
	if e, ok := b.(body); ok {
		return e.kind()
	}
	return ""
}

// EndsCommit reports whether a commit ends with an entry of this body: the
// genesis, an intent or an administrative one. No commit ends with another.
func EndsCommit(b any) bool {
	switch b.(type) {
	case *Genesis, *Intent, *Order:
		return true
	}
	return false
}

// LeafHash is the hash of an entry as a leaf: SHA-256(0x00 || entry), RFC 6962
// section 2.1.
func LeafHash(entry []byte) [32]byte { return tlog.RecordHash(entry) }
