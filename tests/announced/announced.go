// Package announced holds what a token signed, by its own log, against what the board's log says of it: each signature
// stands in an entry that announces it, and the entry's outcome does not deny it.
package announced

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// Log is what entries announce and how that ended. The zero value is an empty one.
type Log struct {
	plans   map[uint64][]message.Digest // that the token was to be asked to sign, by entry
	intents []uint64
	ends    map[uint64]*ledger.Outcome // by intent
}

// Add takes an entry's body; what announces nothing counts for nothing.
func (l *Log) Add(index uint64, body any) {
	if l.plans == nil {
		l.plans, l.ends = map[uint64][]message.Digest{}, map[uint64]*ledger.Outcome{}
	}
	switch b := body.(type) {
	case *ledger.Intent:
		l.plans[index] = b.SignDigests
		l.intents = append(l.intents, index)
	case *ledger.Order:
		if b.Action == ledger.KindCert {
			l.plans[index] = []message.Digest{b.Sign}
		}
	case *ledger.Outcome:
		l.ends[b.Intent] = b
	}
}

// End is the outcome of an intent, nil if there is none.
func (l *Log) End(intent uint64) *ledger.Outcome { return l.ends[intent] }

// Open are the intents that have no outcome.
func (l *Log) Open() []uint64 {
	return slices.DeleteFunc(slices.Clone(l.intents), func(i uint64) bool { return l.ends[i] != nil })
}

// Explained returns nil if some entry that announces a digest is good for it. An order that
// HEAD did not take can be brought again: in the same second its digest is the same.
func (l *Log) Explained(digest []byte, good func(index uint64, item int) error) (err error) {
	found := false
	for index, digests := range l.plans {
		for item, d := range digests {
			if !bytes.HasPrefix(d.Sum, digest) {
				continue
			}
			found = true
			gerr := good(index, item)
			if gerr == nil {
				return nil
			}
			err = errors.Join(err, gerr)
		}
	}
	if !found {
		return fmt.Errorf("the token was asked to sign %x, which no entry announces", digest)
	}
	return err
}

// Admits returns nil if a signature of the token's over this digest stands in an entry, whose outcome, if there is one, does
// not deny that the token was asked.
func (l *Log) Admits(digest []byte) error {
	return l.Explained(digest, func(index uint64, item int) error {
		if end := l.ends[index]; end != nil && !end.Items[item].State.Asked() {
			return fmt.Errorf("the token signed item %d of entry %d, the log says %s", item, index, end.Items[item].State)
		}
		return nil
	})
}

// asks is a GENERAL AUTHENTICATE that wants a P-256 signature (SP 800-73-4 part
// 2, 3.2.4), in the token's log.
var asks = regexp.MustCompile(`> .. 87 11 9c 7c..(?:8200)?8120([0-9a-f]{64})`)

// Signatures are the digests that an emulated token signed with a P-256 key, by its own log (pivemu --log).
func Signatures(log string) (digests [][]byte) {
	var asked []byte
	for line := range strings.Lines(log) {
		if m := asks.FindStringSubmatch(line); m != nil {
			asked, _ = hex.DecodeString(m[1]) // hex by the expression
		} else if asked != nil && strings.Contains(line, " < ") {
			if strings.Contains(line, " 9000 ") {
				digests = append(digests, asked)
			}
			asked = nil
		}
	}
	return digests
}
