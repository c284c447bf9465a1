package audit

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
)

// makeExample has TestExample write the example log anew, and the pages of the
// specification that show parts of it: for when a format changes, which none
// will once it is released.
var makeExample = flag.Bool("make-example", false, "write testdata/example and the examples in docs/spec anew")

// The example log is in the formats of today and clean.
func TestExample(t *testing.T) {
	if *makeExample {
		writeExample(t)
	}
	published := bundle(exampleFile(t, "log/tile/entries/000.p/14"))
	tr, err := trustFile(t)
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Trust: tr, Checkpoint: exampleFile(t, "log/checkpoint"), Entries: from(published), Pending: bundle(exampleFile(t, "log/pending")), Tile: tilesOf(published)}
	if r := audited(t, in); r.Verdict != finding.Clean || r.Size != 14 || r.Pending != 2 || r.Items["signed"] != 4 || r.Items["timed-out"] != 1 {
		t.Errorf("make it anew with -make-example if a format was changed: %+v", r)
	}
}

// writeExample is a world's life: two starts with a power cycle between them,
// four jobs, one of them timed out.
func writeExample(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	w.ceremony(2)
	earlier := w.checkpoint()
	w.ends(1, true, ledger.TimedOut)
	w.tpm.PowerCycle()
	w.pass(time.Hour)
	w.boot()
	third := w.ceremony(1)
	w.ceremony(1)
	w.trust.Quorum, w.trust.Administrators = w.pol.Administrators.Quorum, w.pol.Administrators.Texts
	trust, err := w.trust.Sign(w.log)
	w.must(err)
	in := w.input()
	var leaves []byte
	for _, e := range w.entries[:w.hostSize] {
		h := ledger.LeafHash(e)
		leaves = append(leaves, h[:]...)
	}
	path, err := history.Path(w.hostSize, w.root[w.hostSize], third.index, in.Tile)
	w.must(err)
	p := &ledger.Proof{Origin: origin, Index: third.index, Size: w.hostSize, Path: path, Intent: w.entries[third.index], Checkpoint: in.Checkpoint}
	proof, err := p.Marshal()
	w.must(err)
	for name, b := range map[string][]byte{
		"trust/trust": trust, "demo.tmproof": proof, "earlier-checkpoint": earlier, "third-job": fmt.Appendln(nil, third.intent.Job),
		"cert.asc": openpgp.Armor(w.cert.Bytes()), "log/checkpoint": in.Checkpoint, "log/pending": unbundle(in.Pending),
		"log/tile/0/000.p/14": leaves, "log/tile/entries/000.p/14": unbundle(w.entries[:w.hostSize]),
	} {
		w.must(os.WriteFile(filepath.Join("testdata/example", name), b, 0o644))
	}
	showExample(t, "trust.md", "trust", trust)
	showExample(t, "proof.md", "proof", proof)
	w.showCertifications(t)
}

// showCertifications puts the digests of what the example's key may certify of
// itself into signature.md §5.1, whose test has the same table.
func (w *world) showCertifications(t *testing.T) {
	t.Helper()
	x := certificate.Certification{Created: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), Origin: origin}
	for i := range x.Order {
		x.Order[i] = byte(i)
	}
	expires, revoked := x, x
	expires.Expires = time.Date(2028, 6, 1, 0, 0, 0, 0, time.UTC)
	revoked.Revoke, revoked.Code = true, certificate.Retired
	path := filepath.Join(spec, "signature.md")
	page := read(t, path)
	for what, x := range map[string]certificate.Certification{"renewal, expires 2028-06-01T00:00:00Z": expires, "renewal, expires never": x, "revocation, code 3": revoked} {
		p, err := w.cert.Plan(x)
		w.must(err)
		row := regexp.MustCompile(`(?m)^\| ` + what + ` \| .*$`)
		page = row.ReplaceAll(page, fmt.Appendf(nil, "| %s | `%x` |", what, p.Digest))
	}
	w.must(os.WriteFile(path, page, 0o644))
}

// unbundle is an entry bundle.
func unbundle(entries [][]byte) (b []byte) {
	for _, e := range entries {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return b
}

// showExample puts a text in the place of an example in a page.
func showExample(t *testing.T, page, name string, text []byte) {
	t.Helper()
	path := filepath.Join(spec, page)
	old := example(t, page, name)
	if err := os.WriteFile(path, bytes.Replace(read(t, path), old, text, 1), 0o644); err != nil {
		t.Fatal(err)
	}
}
