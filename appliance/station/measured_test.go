package station

import (
	"testing"

	"touchmark/tpm/ledger"
)

// TestBootEntryWaitsForTheMeasurement: what was booted may be known late; no boot entry is written before that was answered, and
// the answer is in it.
func TestBootEntryWaitsForTheMeasurement(t *testing.T) {
	b := newBoard(t)
	want := ledger.Measured{Image: [32]byte{1}, CommandLine: [32]byte{2}, Programs: [32]byte{3}}
	b.cfg.Measured = func() ledger.Measured { // on the station's own goroutine, which owns the store
		for i := range b.store.Size() {
			raw, err := b.store.Entry(i)
			if err != nil {
				t.Error(err)
				continue
			}
			if _, body, err := ledger.Parse(raw); err != nil || ledger.KindOf(body) == ledger.KindBoot {
				t.Errorf("entry %d: %T, %v", i, body, err)
			}
		}
		return want
	}
	b.start()
	b.event("ready")
	b.connect()
	var boots []*ledger.Boot
	for _, e := range b.entries {
		_, body, err := ledger.Parse(e)
		must(t, err)
		if boot, ok := body.(*ledger.Boot); ok {
			boots = append(boots, boot)
		}
	}
	if len(boots) != 1 || boots[0].Measured != want {
		t.Errorf("boot entries %+v", boots)
	}
}
