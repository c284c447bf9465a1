package past

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"touchmark/hostlink/message"
	"touchmark/tests/biglog"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// signatures are a bit more than a day of the log that the tests look at.
const signatures = 1500

// newLog writes that log, and perhaps entries behind it, at the time of the
// newest, as the appliance would.
func newLog(t *testing.T, more ...any) (dir string, last time.Time) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	store, err := ledgerstore.Create(dir)
	must(t, err)
	var group [][]byte
	_, err = biglog.Generate(signatures, func(a biglog.Append) error {
		if group = append(group, a.Entries...); len(group) < 1000 {
			return nil
		}
		err := store.Append(group, nil) // one sync for many
		group = nil
		return err
	})
	must(t, err)
	must(t, store.Append(group, nil))
	raw, err := store.Entry(store.Size() - 1)
	must(t, err)
	h, _, err := ledger.Parse(raw)
	must(t, err)
	for _, body := range more {
		raw, err := ledger.Marshal(ledger.Header{Index: store.Size(), Time: h.Time}, body)
		must(t, err)
		must(t, store.Append([][]byte{raw}, nil))
	}
	must(t, store.Close())
	return dir, h.Time
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// loaded is the past of the log in dir at a time.
func loaded(t *testing.T, dir string, now time.Time) (*Past, *ledgerstore.Store) {
	t.Helper()
	store, err := ledgerstore.Open(dir)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	p := New(Config{Store: store, Log: zerolog.Nop()})
	must(t, p.Load(now))
	return p, store
}

// What is known from the end of a long log is what is known from all of it:
// what rates count, who may not come again, what the TPM was told.
func TestShortLoadKnowsTheSame(t *testing.T) {
	dir, last := newLog(t)
	p, store := loaded(t, dir, last)
	if p.Whole || p.From != 0 {
		t.Fatalf("read from %d on, all: %v, but the rates reach back 30 days", p.From, p.Whole)
	}
	for _, later := range []time.Duration{0, 23 * time.Hour, 29 * 24 * time.Hour, 29*24*time.Hour + 12*time.Hour, 40 * 24 * time.Hour} {
		now := last.Add(later)
		must(t, p.Load(now))
		short := *p.History
		if later > 29*24*time.Hour && short.From == 0 {
			t.Errorf("%s later: all jobs were looked at", later)
		}
		must(t, p.LoadAll(now))
		for _, since := range []time.Duration{time.Hour, 24 * time.Hour, 29 * 24 * time.Hour, 30 * 24 * time.Hour} {
			got, want := short.Rates.Count("packages", now.Add(-since)), p.Rates.Count("packages", now.Add(-since))
			if got != want {
				t.Errorf("%s later: %d items in %s, want %d", later, got, since, want)
			}
		}
		short.Whole, short.From, short.Rates, short.certs = p.Whole, p.From, p.Rates, p.certs
		if !reflect.DeepEqual(&short, p.History) {
			t.Errorf("%s later: %+v\n%+v", later, &short, p.History)
		}
	}
	must(t, store.Scrub(t.Context(), nil))
}

// A file of jobs that does not fit the log has all of it read; one that does
// is found out by a scrub.
func TestForgedJobs(t *testing.T) {
	dir, last := newLog(t)
	path, base := filepath.Join(dir, "jobs"), filepath.Join(dir, "base")
	good, err := os.ReadFile(path)
	must(t, err)
	believed, err := os.ReadFile(base) // what finds something wrong removes it
	must(t, err)
	const item = 66
	newest := len(good) - 2*item // the newest intent's
	for name, forge := range map[string]func(b []byte){
		"another job":         func(b []byte) { b[newest+34]++ },
		"another time":        func(b []byte) { b[newest+17]++ },
		"an intent twice":     func(b []byte) { copy(b[newest-2*item:], b[newest-4*item:newest-3*item]) },
		"an outcome is gone":  func(b []byte) { copy(b[newest-item:], b[newest:newest+item]) },
		"a type of no job":    func(b []byte) { b[newest+8] = 9 },
		"an intent before":    func(b []byte) { b[newest+item+17]-- },
		"an item that is not": func(b []byte) { clear(b[newest : newest+item]) },
	} {
		b := append([]byte(nil), good...)
		forge(b)
		must(t, os.WriteFile(path, b, 0o600))
		must(t, os.WriteFile(base, believed, 0o600))
		t.Run(name, func(t *testing.T) {
			if p, _ := loaded(t, dir, last); !p.Whole {
				t.Error("it was believed")
			}
		})
	}
	b := append([]byte(nil), good...)
	b[newest-2*item+26]++ // an older job counts for another class
	must(t, os.WriteFile(path, b, 0o600))
	must(t, os.WriteFile(base, believed, 0o600))
	p, store := loaded(t, dir, last)
	if p.Whole {
		t.Error("nothing is to be seen from one item")
	}
	var corrupt *ledgerstore.CorruptError
	if err := store.Scrub(t.Context(), nil); !errors.As(err, &corrupt) {
		t.Errorf("scrub: %v", err)
	}
}

// Outcomes of cert entries count in no rate and are missed by nobody.
func TestOutcomeOfCert(t *testing.T) {
	dir, last := newLog(t)
	_, store := loaded(t, dir, last)
	n := store.Size()
	var boot *ledger.Boot
	for m, err := range store.MarksBackward() {
		must(t, err)
		if m.Kind == ledger.KindBoot {
			raw, err := store.Entry(m.Index)
			must(t, err)
			_, body, err := ledger.Parse(raw)
			must(t, err)
			boot = body.(*ledger.Boot)
			break
		}
	}
	order := &ledger.Order{Action: ledger.KindCert, Sign: message.Digest{Alg: message.SHA256, Sum: make([]byte, 32)}, Note: []byte("order\n\n")}
	dir, last = newLog(t, order, &ledger.Outcome{Intent: n, Items: []ledger.ItemResult{{State: ledger.Unknown}}}, boot)
	p, _ := loaded(t, dir, last)
	if p.Whole {
		t.Error("it took the whole log to start")
	}
}
