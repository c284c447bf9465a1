package derived

import (
	"bytes"
	"encoding/binary"

	"touchmark/tpm/ledger"
)

// markKinds are the kinds of entries that `marks` lists, by their code there:
// all that a start may have to find, which are few. Intents, outcomes and
// attestations are found by reading backwards.
var markKinds = [...]string{
	1:  ledger.KindGenesis,
	2:  ledger.KindBoot,
	3:  ledger.KindPolicy,
	4:  ledger.KindKey,
	5:  ledger.KindTime,
	6:  ledger.KindUpdate,
	7:  ledger.KindResume,
	8:  ledger.KindNote,
	9:  ledger.KindClose,
	10: ledger.KindCert,
	11: ledger.KindImage,
}

// Mark is where an entry of one of these kinds stands.
type Mark struct {
	Index uint64
	Kind  string // ledger.KindBoot, …
}

// kindLine is where an entry says what it is: in its second line.
var kindLine = []byte(ledger.Domain + "\nkind ")

// markOf is the code of an entry's kind, 0 if it has none. No more is looked
// at: whoever appended the entry has checked its form.
func markOf(entry []byte) byte {
	rest, ok := bytes.CutPrefix(entry, kindLine)
	kind, _, whole := bytes.Cut(rest, []byte("\n"))
	if !ok || !whole {
		return 0
	}
	for code, name := range markKinds {
		if name != "" && name == string(kind) {
			return byte(code)
		}
	}
	return 0
}

// DecodeMark reads an item of Marks; ok is false if it is none.
func DecodeMark(b []byte) (m Mark, ok bool) {
	i, code := binary.BigEndian.Uint64(b), int(b[8])
	if code == 0 || code >= len(markKinds) {
		return Mark{Index: i}, false
	}
	return Mark{i, markKinds[code]}, true
}
