// Package incremental finds where an audit may begin that was done before up
// to a checkpoint: far enough back to know what counts in rates and which jobs
// are good, at a boot entry, whose statements the replay of HEAD and PCR goes
// on from. It reads O(log n) entries and hash tiles, and believes none of them
// but what leads to the root of the present checkpoint.
//
// The package is pure: entries and tiles are given by functions.
package incremental

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/appliance/policy"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
)

// maxAdmin bounds the administrative entries followed back to the newest
// policy: each is an act of people.
const maxAdmin = 4096

// Log is a published log whose checkpoint was verified.
type Log struct {
	Size    uint64
	Root    [32]byte
	Entries func(from uint64) iter.Seq2[[]byte, error]
	Tile    history.TileFunc

	tile   uint64   // the one read last
	bundle [][]byte // its first entries, nil for none
}

// Start is where an audit goes on.
type Start struct {
	Tree     *ledger.Tree   // of the entries before; its size is the first entry's index
	Boot     *ledger.Boot   // that entry, nil if it is the genesis
	Root     [32]byte       // at Boot.Committed
	Newest   uint64         // index of the newest boot entry below the size audited before
	Genesis  []byte         // entry 0
	Orders   []Order        // administrative entries that took effect before Boot, oldest first
	Policy   *policy.Policy // in force at Boot
	Validity time.Duration  // the longest that a policy up to there gave an approval
	Sequence uint64         // of the newest intent before Boot, 0 if there is none
	From     time.Time      // no entry of this time or a later one stands before Boot
}

// Order is one of them; nothing in it is opened if its note does not verify.
type Order struct {
	*task.Order
	Time    time.Time
	Outcome *ledger.Outcome // of a cert entry, nil if there is none
	entry   *ledger.Order
}

// Prove gives an error unless the log has this root at this size. same is
// false when the tiles prove that it has another.
func (l *Log) Prove(size uint64, root [32]byte) (same bool, err error) {
	had, err := history.RootAt(l.Size, l.Root, size, l.Tile)
	if err != nil {
		return false, fmt.Errorf("the published hash tiles do not lead from size %d to %d: %w", l.Size, size, err)
	}
	return had == root, nil
}

// Find finds the start for an audit that was done up to size audited, which
// Prove has accepted: so far back that no entry from the time back on stands
// before it, and none that may count for the entries behind the audited ones as
// long as clock and policy stay what they are. back is zero if nothing tells
// more.
func (l *Log) Find(audited uint64, back time.Time) (*Start, error) {
	genesis, err := l.entry(0)
	if err != nil {
		return nil, err
	}
	first := &Start{Tree: new(ledger.Tree), Genesis: genesis}
	at, newest, err := l.bootBefore(audited)
	if err != nil || newest == nil {
		return first, err
	}
	first.Newest = at
	s := &Start{Newest: at, Genesis: genesis}
	if err := s.inForce(l, newest, at); err != nil {
		return nil, err
	}
	if s.From, err = s.reach(l, audited, back); err != nil {
		return nil, err
	}
	if at, err = l.before(s.straight(at), s.From); err != nil {
		return nil, err
	}
	from, boot, err := l.bootBefore(at + 1)
	if err != nil || boot == nil || from == 0 {
		return first, err
	}
	s.Boot = boot
	if err := s.inForce(l, boot, from); err != nil {
		return nil, err
	}
	if s.Sequence, err = l.sequence(from); err != nil {
		return nil, err
	}
	return s, s.tree(l, from)
}

// reach is how far back an audit must look: over the longest rate window, and
// over the longest validity that an approval was given.
func (s *Start) reach(l *Log, audited uint64, back time.Time) (time.Time, error) {
	raw, err := l.entry(audited - 1)
	if err != nil {
		return back, err
	}
	h, _, err := ledger.Parse(raw)
	from := h.Time.Add(-max(s.Policy.LongestWindow(), s.Validity))
	if !back.IsZero() && back.Before(from) {
		from = back
	}
	return from, err
}

// straight is the index up to which times that are not older than From can
// stand only behind those that are: the first at which administrators set the
// clock, if it had come to From before.
func (s *Start) straight(below uint64) uint64 {
	for _, o := range s.Orders {
		if o.Kind == ledger.KindTime && o.Verifies() && !o.Time.Before(s.From) {
			return min(o.Index, below)
		}
	}
	return below
}

// inForce follows the administrative entries back from a boot entry at index
// at, and tells what they put in force.
func (s *Start) inForce(l *Log, b *ledger.Boot, at uint64) error {
	s.Orders = nil
	for i := b.Admin; i > 0; {
		if len(s.Orders) == maxAdmin {
			return fmt.Errorf("more than %d administrative entries", maxAdmin)
		}
		raw, err := l.entry(i)
		if err != nil {
			return err
		}
		h, body, err := ledger.Parse(raw)
		o, ok := body.(*ledger.Order)
		if err != nil || !ok || o.Previous >= i {
			return fmt.Errorf("entry %d is no administrative one", i)
		}
		taken := Order{Order: task.NewOrder(i, o), Time: h.Time, entry: o}
		if o.Action == ledger.KindCert {
			if taken.Outcome, err = l.certified(i, at); err != nil {
				return err
			}
		}
		s.Orders = append(s.Orders, taken)
		i = o.Previous
	}
	slices.Reverse(s.Orders)
	return s.open()
}

// open verifies the orders, each under the policy that was in force before it:
// the chain holds also those that nobody signed, and they change nothing.
func (s *Start) open() error {
	_, body, err := ledger.Parse(s.Genesis)
	g, ok := body.(*ledger.Genesis)
	if err != nil || !ok {
		return errors.New("entry 0 is no genesis")
	}
	if s.Policy, err = policy.Open(g.Policy); err != nil {
		return fmt.Errorf("the policy in entry 0: %w", err)
	}
	s.Validity = s.Policy.MaxValidity
	for _, o := range s.Orders {
		if o.Open(o.entry, s.Policy) == nil && o.Policy != nil {
			s.Policy = o.Policy
			s.Validity = max(s.Validity, s.Policy.MaxValidity)
		}
	}
	return nil
}

// certified finds the outcome of a cert entry, which stands among the next
// entries, below an index.
func (l *Log) certified(i, below uint64) (*ledger.Outcome, error) {
	n := i
	for raw, err := range l.Entries(i + 1) {
		if err != nil {
			return nil, err
		}
		if n++; n >= below || n-i > history.Window {
			break
		}
		_, body, err := ledger.Parse(raw)
		o, ok := body.(*ledger.Outcome)
		if err != nil || !ok || o.Intent != i {
			continue
		}
		if _, err := l.entry(n); err != nil {
			return nil, err
		}
		return o, nil
	}
	return nil, nil
}

// tree sets the tree of the first from entries and the root of the commit that
// the boot entry names.
func (s *Start) tree(l *Log, from uint64) error {
	hashes := history.Hashes(l.Size, l.Root, l.Tile)
	var peaks []int64
	for level, left := 40, from; level >= 0; level-- {
		if size := uint64(1) << level; left >= size {
			peaks = append(peaks, tlog.StoredHashIndex(level, int64((from-left)>>level)))
			left -= size
		}
	}
	read, err := hashes.ReadHashes(peaks)
	if err != nil {
		return err
	}
	s.Tree = ledger.TreeOf(from, read)
	s.Root, err = tlog.TreeHash(int64(s.Boot.Committed), hashes)
	return err
}

// entry reads one entry and proves that it is the log's.
func (l *Log) entry(i uint64) ([]byte, error) {
	for raw, err := range l.Entries(i) {
		if err != nil {
			return nil, err
		}
		h, err := history.Hashes(l.Size, l.Root, l.Tile).ReadHashes([]int64{tlog.StoredHashIndex(0, int64(i))})
		if err != nil {
			return nil, err
		}
		if h[0] != ledger.LeafHash(raw) {
			return nil, fmt.Errorf("entry %d is not the one that was committed", i)
		}
		return bytes.Clone(raw), nil
	}
	return nil, fmt.Errorf("entry %d is missing", i)
}

// firstLines begins every entry of a kind.
func firstLines(kind string) []byte { return []byte(ledger.Domain + "\nkind " + kind + "\n") }

// newestOf finds the newest entry of a kind below an index, nil if there is
// none, reading tile by tile backwards: a boot entry stands every few hundred
// entries or the machine has run for long.
func (l *Log) newestOf(kind string, below uint64) (at uint64, entry []byte, err error) {
	first := firstLines(kind)
	for n := below; n > 0; {
		tile := (n - 1) >> history.TileHeight
		entries, err := l.entries(tile, n)
		if err != nil {
			return 0, nil, err
		}
		for from := tile << history.TileHeight; n > from; {
			if n--; bytes.HasPrefix(entries[n-from], first) {
				return n, entries[n-from], nil
			}
		}
	}
	return 0, nil, nil
}

// entries reads the entries of a tile that stand below an index, and proves
// that they are the log's.
func (l *Log) entries(tile, to uint64) (entries [][]byte, err error) {
	from := tile << history.TileHeight
	if l.tile == tile && from+uint64(len(l.bundle)) >= to {
		return l.bundle, nil
	}
	var indexes []int64
	for raw, err := range l.Entries(from) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, bytes.Clone(raw))
		indexes = append(indexes, tlog.StoredHashIndex(0, int64(from)+int64(len(indexes))))
		if from+uint64(len(entries)) == to {
			break
		}
	}
	if from+uint64(len(entries)) < to {
		return nil, fmt.Errorf("entry %d is missing", from+uint64(len(entries)))
	}
	hashes, err := history.Hashes(l.Size, l.Root, l.Tile).ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if hashes[i] != ledger.LeafHash(e) {
			return nil, fmt.Errorf("entry %d is not the one that was committed", from+uint64(i))
		}
	}
	l.tile, l.bundle = tile, entries
	return entries, nil
}

// bootBefore finds the newest boot entry below an index, nil if there is none.
func (l *Log) bootBefore(below uint64) (uint64, *ledger.Boot, error) {
	i, raw, err := l.newestOf(ledger.KindBoot, below)
	if err != nil || raw == nil {
		return 0, nil, err
	}
	_, body, err := ledger.Parse(raw)
	b, ok := body.(*ledger.Boot)
	if err != nil || !ok || b.Committed == 0 || b.Committed > i {
		return 0, nil, fmt.Errorf("entry %d is no boot entry that an audit can begin at", i)
	}
	return i, b, nil
}

// sequence is the number of the newest intent below an index, 0 if there is
// none.
func (l *Log) sequence(below uint64) (uint64, error) {
	i, raw, err := l.newestOf(ledger.KindIntent, below)
	if err != nil || raw == nil {
		return 0, err
	}
	_, body, err := ledger.Parse(raw)
	in, ok := body.(*ledger.Intent)
	if err != nil || !ok {
		return 0, fmt.Errorf("entry %d is no intent", i)
	}
	return in.Sequence, nil
}

// before finds, among the first entries of tiles below an index, the newest
// one that is older than t; 0 if none is.
func (l *Log) before(below uint64, t time.Time) (uint64, error) {
	low, high := uint64(0), below>>history.TileHeight // tile low is older, or 0; high+1 is not
	for low < high {
		mid := (low + high + 1) / 2
		raw, err := l.entry(mid << history.TileHeight)
		if err != nil {
			return 0, err
		}
		h, _, err := ledger.Parse(raw)
		if err != nil {
			return 0, err
		}
		if h.Time.Before(t) {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low << history.TileHeight, nil
}
