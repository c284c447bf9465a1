package mirror

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"iter"
	"slices"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/verify"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledger/tokenkey"
)

// law is what the administrators' entries of the log amount to, as far as HEAD
// took them (docs/spec/ledger.md §1.7). Each of them is signed by a quorum, so
// neither board nor cable can make one.
type law struct {
	policy *policy.Policy // in force
	admin  uint64         // newest entry of the administrators, 0 for the genesis
	keys   []logKey       // that sign checkpoints, oldest first
	closed bool           // the log has ended
	taken  []Taken        // by HEAD, oldest first

	tokens   []tokenkey.Known // keys that sign files, oldest first
	added    [][20]byte       // fingerprints of those that administrators added
	emulated bool             // the log began with a key that may exist in copies
	revoked  []revocation     // that administrators ordered

	waiting *ledger.Order // the newest that HEAD may not have taken, nil if it did
	at      uint64        // its index
}

// Taken is an order or a policy that has effect.
type Taken struct {
	Index  uint64   // of its entry
	ID     [32]byte // order.Hash
	Action string   // kind of the entry
}

// revocation is an order that a key revoke itself.
type revocation struct {
	entry uint64
	key   string // its name
}

// logKey signs the checkpoints of this size and above.
type logKey struct {
	from uint64
	key  string // note verifier key
}

// firstLaw is that of the genesis entry.
func firstLaw(g *ledger.Genesis) (law, error) {
	p, err := policy.Open(g.Policy)
	if err != nil {
		return law{}, fmt.Errorf("policy in the genesis entry: %w", err)
	}
	l := law{policy: p, keys: []logKey{{0, g.LogKey}}, emulated: g.Emulated()}
	for _, k := range g.Keys {
		known := tokenkey.Known{Name: k.Name}
		if c, err := certificate.Parse(k.Cert); err == nil {
			known.Public = c.Key.Public
		}
		l.tokens = append(l.tokens, known)
	}
	return l, nil
}

// add takes the next entry that took effect.
func (l *law) add(index uint64, e *ledger.Order) error {
	if e.Previous != l.admin {
		return fmt.Errorf("entry %d names entry %d as the administrators' one before, which is %d", index, e.Previous, l.admin)
	}
	l.admin = index
	if e.Action == ledger.KindPolicy {
		next, err := l.policy.Successor(e.Note)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		l.policy = next
		return l.note(index, e)
	}
	o, err := order.OpenEntry(e, l.policy.Administrators.Keys, l.policy.Administrators.Quorum)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	switch a := o.Action.(type) {
	case *order.Close:
		l.closed = true
	case *order.Cert:
		if a.Revoke {
			l.revoked = append(slices.Clip(l.revoked), revocation{index, a.Key})
		}
	case *order.Key:
		if a.Token == nil {
			l.keys = append(slices.Clip(l.keys), logKey{index + 1, a.LogKey})
			break
		}
		c, err := tokenkey.Join(a.Token, l.tokens, l.emulated, l.policy)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		l.tokens = append(slices.Clip(l.tokens), tokenkey.Known{Name: a.Token.Name, Public: c.Key.Public})
		l.added = append(slices.Clip(l.added), a.Token.Fingerprint)
	}
	return l.note(index, e)
}

// note remembers an entry that took effect.
func (l *law) note(index uint64, e *ledger.Order) error {
	id, err := order.Hash(e.Note)
	l.taken = append(slices.Clip(l.taken), Taken{index, id, e.Action})
	return err
}

// took notes that HEAD took a commit of this size: an administrative entry has
// effect if the commit ends with it.
func (l *law) took(size uint64) error {
	if l.waiting == nil || size != l.at+1 {
		return nil
	}
	e := l.waiting
	l.waiting = nil
	if err := l.add(l.at, e); err != nil {
		return errLaw{err}
	}
	return nil
}

// follow reads entries from..to-1, to being the size of a commit. What it reads
// wrong is this host's disk and no errLaw.
func (l *law) follow(entries iter.Seq2[[]byte, error], to uint64) error {
	for e, err := range entries {
		if err != nil {
			return err
		}
		if !speaks(e) {
			continue
		}
		h, body, err := ledger.Parse(e)
		if err != nil {
			return fmt.Errorf("mirror: %w", err)
		}
		switch b := body.(type) {
		case *ledger.Order:
			l.waiting, l.at = b, h.Index
		case *ledger.Attest:
			err = l.took(b.Size)
		case *ledger.Boot:
			err = l.took(b.Committed)
		}
		if err != nil {
			return err
		}
	}
	return l.took(to)
}

// silent are the kinds of entry, nearly all of a log, that say nothing about the
// law; they need not be taken apart.
var silent = [][]byte{kindLine(ledger.KindIntent), kindLine(ledger.KindOutcome), kindLine(ledger.KindUpdate), kindLine(ledger.KindGenesis)}

func kindLine(kind string) []byte { return []byte(ledger.Domain + "\nkind " + kind + "\n") }

func speaks(entry []byte) bool {
	return !slices.ContainsFunc(silent, func(k []byte) bool { return bytes.HasPrefix(entry, k) })
}

// keyAt is the log key that signs a checkpoint of this size.
func (l *law) keyAt(size uint64) string {
	for _, k := range slices.Backward(l.keys) {
		if size >= k.from {
			return k.key
		}
	}
	return ""
}

// errLaw marks what contradicts the law: no retry mends it.
type errLaw struct{ error }

// lawAt is the law when the log had this many entries, all of which are here.
// What is proven is known; the rest is read.
func (m *Mirror) lawAt(size uint64) (law, error) {
	if m.Committed() == 0 {
		return m.lawByMarks(size)
	}
	l := m.law
	if err := l.follow(m.Store.Entries(m.Committed(), size), size); err != nil {
		return law{}, err
	}
	return l, nil
}

// lawByMarks reads it where nothing is known yet, in a time that does not grow with
// the log: the newest boot entry names the newest entry of the administrators
// before it, and each of these the one before; those behind it are read, and what
// follows them up to the next word on what HEAD took.
func (m *Mirror) lawByMarks(size uint64) (l law, err error) {
	l = m.law
	var orders []uint64
	for k, err := range m.Store.MarksBackward() {
		switch {
		case err != nil:
			return law{}, err
		case k.Index >= size || !speaks(kindLine(k.Kind)):
			continue
		case k.Kind != ledger.KindBoot:
			orders = append(orders, k.Index)
			continue
		}
		if l, err = m.lawAtBoot(k.Index); err != nil {
			return law{}, err
		}
		break
	}
	for _, i := range slices.Backward(orders) {
		if err := l.follow(decided(m.Store.Entries(i, size)), 0); err != nil {
			return law{}, err
		}
	}
	return l, l.took(size)
}

// lawAtBoot is the law that held when the board wrote a boot entry.
func (m *Mirror) lawAtBoot(index uint64) (law, error) {
	raw, err := m.Store.Entry(index)
	if err != nil {
		return law{}, err
	}
	_, body, err := ledger.Parse(raw)
	boot, ok := body.(*ledger.Boot)
	if err != nil || !ok {
		return law{}, fmt.Errorf("mirror: entry %d is no boot entry (%v)", index, err)
	}
	return m.chain(boot.Admin)
}

// decided yields an entry of the administrators and those behind it up to the one
// that says whether HEAD took it: the first that names what HEAD took. If another
// one of the administrators comes first, it did not.
func decided(entries iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	says := [][]byte{kindLine(ledger.KindAttest), kindLine(ledger.KindBoot)}
	return func(yield func([]byte, error) bool) {
		first := true
		for e, err := range entries {
			names := slices.ContainsFunc(says, func(k []byte) bool { return bytes.HasPrefix(e, k) })
			if err == nil && !first && !names && speaks(e) || !yield(e, err) || names {
				return
			}
			first = false
		}
	}
}

// chain is the law that an entry of the administrators and those before it make.
func (m *Mirror) chain(newest uint64) (law, error) {
	type entry struct {
		at uint64
		e  *ledger.Order
	}
	var found []entry
	for i := newest; i > 0; {
		raw, err := m.Store.Entry(i)
		if err != nil {
			return law{}, err
		}
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return law{}, fmt.Errorf("mirror: entry %d: %w", i, err)
		}
		e, ok := body.(*ledger.Order)
		if !ok || e.Previous >= i {
			return law{}, errLaw{fmt.Errorf("entry %d is named as one of the administrators and is none that follows another", i)}
		}
		found = append(found, entry{i, e})
		i = e.Previous
	}
	l := m.law
	for _, f := range slices.Backward(found) {
		if err := l.add(f.at, f.e); err != nil {
			return law{}, errLaw{err}
		}
	}
	return l, nil
}

// ErrLogKey says that a checkpoint is signed by a log key which neither the
// trust file nor, as far as it is here, the log names.
var ErrLogKey = errors.New("the checkpoint is signed by a log key that neither the trust file nor the log names: if the administrators replaced it, get the next version of the trust file from them")

// open verifies a checkpoint by the keys that the trust file or the proven log
// names. One by another key, which the TPM attests, waits for the entries that
// may name it; then the checkpoint is nil.
func (m *Mirror) open(n []byte) (*anchor.Checkpoint, error) {
	known := m.signedBy(m.trusted()...)
	cp, err := known.OpenCheckpoint(n)
	if err == nil {
		return cp, nil
	}
	if foreign, ferr := known.AttestedCheckpoint(n); ferr == nil {
		m.strange, m.snote = foreign, bytes.Clone(n)
		return nil, nil
	}
	return nil, err
}

// trusted are the log keys of the trust file and of the proven log.
func (m *Mirror) trusted() []string {
	known := append([]string{m.trust.LogKey}, m.trust.OldLogKeys...)
	for _, k := range m.law.keys {
		if !slices.Contains(known, k.key) {
			known = append(known, k.key)
		}
	}
	return known
}

// signedBy is the trust in which these log keys count.
func (m *Mirror) signedBy(keys ...string) *anchor.Trust {
	t := *m.trust.Trust
	t.LogKey, t.OldLogKeys = keys[0], keys[1:]
	return &t
}

// identify looks, once the entries are here, whether the checkpoint by a key that
// nobody knew is by one that the administrators ordered in them.
func (m *Mirror) identify() error {
	cp, n := m.strange, m.snote
	if cp == nil || cp.Size > m.Store.Size() {
		return nil
	}
	m.strange, m.snote = nil, nil
	l, err := m.lawAt(cp.Size)
	var broken errLaw
	switch {
	case errors.As(err, &broken):
		return fmt.Errorf("%w: %w", ErrLogKey, err)
	case err != nil:
		return err
	}
	if cp, err = m.signedBy(l.keyAt(cp.Size)).OpenCheckpoint(n); err != nil {
		return fmt.Errorf("%w: %w", ErrLogKey, err)
	}
	if m.ahead == nil || m.ahead.Size < cp.Size {
		m.ahead, m.anote = cp, n
	}
	return nil
}

// obey makes what the checkpoint proves the law.
func (m *Mirror) obey(cp *anchor.Checkpoint, n []byte) error {
	l, err := m.lawAt(cp.Size)
	var broken errLaw
	switch {
	case errors.As(err, &broken):
		return Contradiction("orders-broken", map[string][]byte{"checkpoint": n}, "the appliance's log has an entry of the administrators that they did not make: %v", err)
	case err != nil:
		return err
	}
	if len(m.trusted()) > 1 || len(l.keys) > 1 {
		if _, err := m.signedBy(l.keyAt(cp.Size)).OpenCheckpoint(n); err != nil {
			return Contradiction("log-key", map[string][]byte{"checkpoint": n}, "the checkpoint of %d entries is signed by a log key that was not in force: %v", cp.Size, err)
		}
	}
	m.law = l
	return nil
}

// Policy is the one in force as far as the log is proven; nil before the genesis
// entry is here.
func (m *Mirror) Policy() *policy.Policy { return m.law.policy }

// Ordered gives the order of this hash if the proven log has it in force, else
// nil.
func (m *Mirror) Ordered(id [32]byte) *Taken {
	i := slices.IndexFunc(m.law.taken, func(t Taken) bool { return t.ID == id })
	if i < 0 {
		return nil
	}
	return &m.law.taken[i]
}

// OutcomeOf reads what became of a cert entry, nil as long as that is not here.
// It may stand behind the checkpoint: then it is hearsay.
func (m *Mirror) OutcomeOf(index uint64) ([]ledger.ItemResult, error) {
	for e, err := range m.Store.Entries(index+1, m.Store.Size()) {
		if err != nil {
			return nil, err
		}
		_, body, err := ledger.Parse(e)
		if err != nil {
			return nil, err
		}
		switch b := body.(type) {
		case *ledger.Outcome:
			if b.Intent == index {
				return b.Items, nil
			}
		case *ledger.Intent:
			return nil, nil // one at a time: no outcome comes behind the next intent
		}
	}
	return nil, nil
}

// Revoked reports whether the administrators ordered that this key of a token revoke
// itself, and by which entry. Whether it did, its outcome tells (OutcomeOf).
func (m *Mirror) Revoked(pub crypto.PublicKey) (entry uint64, ordered bool) {
	for _, r := range m.law.revoked {
		same := func(k tokenkey.Known) bool { return k.Name == r.key && tokenkey.Same(k.Public, pub) }
		if slices.ContainsFunc(m.law.tokens, same) {
			return r.entry, true
		}
	}
	return 0, false
}

// Closed reports whether the administrators ended the log.
func (m *Mirror) Closed() bool { return m.law.closed }

// Outdated reports whether the administrators brought a key that the trust file
// does not name, another log key or one of a token: whoever checks by the file
// cannot check what is new.
func (m *Mirror) Outdated() bool {
	t := m.trust
	unknown := func(fpr [20]byte) bool { return t.Keys.Find(fpr) == nil }
	return len(m.law.keys) > 0 && !slices.Contains(append([]string{t.LogKey}, t.OldLogKeys...), m.law.keyAt(m.Committed())) ||
		slices.ContainsFunc(m.law.added, unknown)
}

// Trust is what this host pins, and the log keys that the log names besides.
func (m *Mirror) Trust() *verify.Trust {
	t := *m.trust
	t.Trust = m.signedBy(m.trusted()...)
	if m.cpBy == m.trust { // what an earlier file vouched for, this one looks at itself
		t.Knowing(m.note, m.cp)
	}
	return &t
}

// Pinned is the version of the trust file in use.
func (m *Mirror) Pinned() *verify.Trust { return m.trust }

// Retrust takes the next version of what is pinned.
func (m *Mirror) Retrust(t *verify.Trust) { m.trust = t }
