package ledger

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"time"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
)

// Glimpse is what rates and repeated jobs depend on, of an intent or outcome
// that was checked before.
type Glimpse struct {
	Header
	Job message.JobID

	// Of an intent.
	Sequence uint64
	Class    string
	NotAfter time.Time
	Items    int

	// Of an outcome: the intent's index, and an end for each item, at least
	// one. An intent has none.
	Intent uint64
	States []State
}

// Outcome reports whether it is of an outcome.
func (g *Glimpse) Outcome() bool { return len(g.States) > 0 }

// Counted is how many items of an outcome count in rates.
func (g *Glimpse) Counted() (n int) {
	for _, s := range g.States {
		if s.Counts() {
			n++
		}
	}
	return n
}

// Glance takes from an intent or outcome what a Glimpse has; ok is false of any
// other entry. It costs a fraction of Parse, and says the same of what Parse
// and message.ParseApproval accept; of other texts it may say anything.
func Glance(entry []byte) (g Glimpse, ok bool) {
	l := lines{rest: entry}
	l.domain(Domain)
	kind := string(l.value("kind"))
	if kind != KindIntent && kind != KindOutcome {
		return Glimpse{}, false
	}
	g.Index, g.Time = l.number("index"), l.time("time")
	if kind == KindIntent {
		l.intent(&g)
	} else {
		l.outcome(&g)
	}
	return g, !l.bad
}

func (l *lines) intent(g *Glimpse) {
	g.Sequence = l.number("sequence")
	for _, key := range []string{"policy", "key", "refusals"} {
		l.value(key)
	}
	for l.at("refused") {
		l.value("refused")
	}
	l.job(g)
	a := lines{rest: l.block("approval")}
	a.domain(message.ApprovalDomain)
	a.value("origin")
	g.Class = string(a.value("class"))
	a.value("nonce")
	g.NotAfter = a.time("not-after")
	l.block("submission")
	for ; l.at("sign"); g.Items++ {
		l.value("sign")
	}
	l.bad = l.bad || a.bad || g.Items == 0 || g.Items > MaxItems
}

func (l *lines) outcome(g *Glimpse) {
	g.Intent = l.number("intent")
	l.job(g)
	g.States = make([]State, 0, MaxItems)
	for l.at("item") && len(g.States) < MaxItems {
		word, _, _ := bytes.Cut(l.value("item"), []byte(" "))
		g.States = append(g.States, stateOf(word))
	}
	l.bad = l.bad || len(g.States) == 0
}

// stateOf is State(word) without a copy of it.
func stateOf(word []byte) State {
	for _, s := range []State{Signed, Withheld, Denied, TimedOut, Failed, NotStarted, Unknown} {
		if string(word) == string(s) {
			return s
		}
	}
	return State(word)
}

// lines goes through a canonical text without copies.
type lines struct {
	rest []byte
	bad  bool // it was not what was looked for
}

func (l *lines) take() []byte {
	line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
	if l.bad = l.bad || !ok; l.bad {
		return nil
	}
	l.rest = rest
	return line
}

func (l *lines) domain(want string) { l.bad = string(l.take()) != want || l.bad }

// at reports whether the next line has this key.
func (l *lines) at(key string) bool {
	return !l.bad && len(l.rest) > len(key) && string(l.rest[:len(key)]) == key && l.rest[len(key)] == ' '
}

// value is what stands behind the key of the next line.
func (l *lines) value(key string) []byte {
	if l.bad = !l.at(key); l.bad {
		return nil
	}
	line := l.take()
	return line[min(len(line), len(key)+1):]
}

func (l *lines) job(g *Glimpse) {
	v := l.value("job")
	if l.bad = l.bad || len(v) != hex.EncodedLen(len(g.Job)); l.bad {
		return
	}
	_, err := hex.Decode(g.Job[:], v)
	l.bad = err != nil
}

func (l *lines) number(key string) uint64 {
	n, err := strconv.ParseUint(string(l.value(key)), 10, 64)
	l.bad = l.bad || err != nil
	return n
}

func (l *lines) time(key string) time.Time {
	t, err := time.Parse(canon.TimeLayout, string(l.value(key)))
	l.bad = l.bad || err != nil
	return t
}

// block is the bytes that a line with their number announces.
func (l *lines) block(key string) []byte {
	n := l.number(key)
	if l.bad = l.bad || n > uint64(len(l.rest)); l.bad {
		return nil
	}
	b := l.rest[:n]
	l.rest = l.rest[n:]
	return b
}
