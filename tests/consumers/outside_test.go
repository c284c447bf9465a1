package consumers

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
	"touchmark/tpm/quote"
)

// demoLog is a log that the real programs made with a software TPM that nobody here wrote, taken apart.
type demoLog struct {
	dir     string // published
	trust   *anchor.Trust
	cert    string // OpenPGP certificate, binary
	files   []string
	entries [][]byte
	roots   [][32]byte // by size
	note    []byte
	ak      *quote.AK
}

// makeLog signs three files, two in one go, and starts the board anew in between.
func makeLog(t *testing.T, ctx context.Context) *demoLog {
	t.Helper()
	bin := os.Getenv("TOUCHMARK_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "build", "bin")
	}
	w, err := world.Up(ctx, world.Config{Dir: t.TempDir(), Bin: bin, Touch: "auto"})
	if err != nil {
		t.Fatalf("%v (are the programs built? run make build)", err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &demoLog{dir: w.Mirror}
	work := t.TempDir()
	sign := func(names ...string) {
		var paths []string
		for _, n := range names {
			path := filepath.Join(work, n)
			must(t, os.WriteFile(path, []byte("this is "+n), 0o644))
			paths = append(paths, path)
		}
		l.files = append(l.files, paths...)
		armed, mark := make(chan error, 1), w.Views().Mark()
		go func() { armed <- arm(ctx, w, mark) }()
		r, err := w.Run(ctx, "", "touchmark", append([]string{"sign"}, paths...)...)
		if err != nil || r.Code != 0 {
			t.Fatalf("%v %+v", err, r)
		}
		must(t, <-armed)
	}
	sign("one.db.tar.gz", "two.db.tar.gz")
	w.StopAppliance()
	must(t, w.StartAppliance(ctx))
	sign("three.db.tar.gz")
	if r, err := w.Run(ctx, "", "touchmark", "publish"); err != nil || r.Code != 0 {
		t.Fatalf("%v %+v", err, r)
	}
	l.load(t, w.Trust)
	return l
}

// arm arms the first job that the board shows from now on.
func arm(ctx context.Context, w *world.World, mark int) error {
	v, _, err := w.Views().Wait(ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm })
	if err != nil {
		return err
	}
	return w.Operator("arm " + v.Job.ID)
}

func (l *demoLog) load(t *testing.T, trust string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(trust, "trust"))
	must(t, err)
	l.trust, err = anchor.OpenTrust(text)
	must(t, err)
	l.ak, err = quote.ParseAK(l.trust.AK)
	must(t, err)
	l.cert = write(t, "cert.pgp", l.trust.Certs[0])
	published, err := tiles.Open(l.dir)
	must(t, err)
	l.note, err = published.Checkpoint()
	must(t, err)
	var tree ledger.Tree
	l.roots = [][32]byte{ledger.EmptyRoot()}
	for e, err := range published.Entries(0) {
		must(t, err)
		tree.Add(ledger.LeafHash(e))
		l.entries, l.roots = append(l.entries, e), append(l.roots, tree.Root())
	}
}

func (l *demoLog) x(size uint64) [32]byte {
	return ledger.X(ledger.CheckpointBody(l.trust.Origin, size, l.roots[size]))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

// judge runs a program that must accept, and after spoil, which changes a file, refuse.
func judge(t *testing.T, what string, spoil string, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("%s refuses %s: %v: %s", name, what, err, out)
	}
	b, err := os.ReadFile(spoil)
	must(t, err)
	b[len(b)-1] ^= 1
	must(t, os.WriteFile(spoil, b, 0o600))
	if out, err := exec.Command(path, args...).CombinedOutput(); err == nil {
		t.Errorf("%s accepts %s with one bit changed: %s", name, what, out)
	}
}

// Programs that know nothing of us agree with what the real programs and the software TPM wrote.
func TestOutsideToolsAgree(t *testing.T) {
	must(t, Installed())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l := makeLog(t, ctx)
	t.Run("quotes", l.quotes)
	t.Run("attestations", l.attestations)
	t.Run("notes", l.notes)
	t.Run("signatures", func(t *testing.T) { l.signatures(t, ctx) })
	t.Run("tiles", l.tlogClient)
}

func (l *demoLog) akPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(l.ak.Public())
	must(t, err)
	return write(t, "ak.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// quotes has tpm2_checkquote verify every stored quote against the PCR's replay.
func (l *demoLog) quotes(t *testing.T) {
	var pcr [32]byte
	committed, checked := uint64(0), 0
	for i, e := range l.entries {
		_, body, err := ledger.Parse(e)
		must(t, err)
		var q quote.Attestation
		var tag [32]byte
		size := committed
		switch b := body.(type) {
		case *ledger.Attest:
			q, size, tag = b.Quote, b.Size, quote.QuoteTag(l.x(b.Size))
		case *ledger.Boot:
			q, size, tag = b.Quote, b.Committed, quote.BootTag(l.x(b.Committed))
		}
		if size > committed {
			committed, pcr = size, anchor.Extend(pcr, l.x(size))
		}
		if len(q.Attest) == 0 {
			continue
		}
		checked++
		msg := write(t, "attest", q.Attest)
		judge(t, fmt.Sprintf("the quote of entry %d", i), msg, "tpm2_checkquote", "-u", l.akPEM(t), "-m", msg, "-s", write(t, "sig", q.Sig),
			"-f", write(t, "pcrs", pcr[:]), "-l", fmt.Sprintf("sha256:%d", l.trust.PCR), "-g", "sha256", "-q", hex.EncodeToString(tag[:]))
	}
	if checked < 4 {
		t.Errorf("%d quotes", checked)
	}
}

// attestations has openssl verify every NV_Certify.
func (l *demoLog) attestations(t *testing.T) {
	checked := 0
	for i, e := range l.entries {
		_, body, err := ledger.Parse(e)
		must(t, err)
		var a quote.Attestation
		switch b := body.(type) {
		case *ledger.Attest:
			a = b.Certify
		case *ledger.Boot:
			a = b.Certify
		default:
			continue
		}
		checked++
		r, s, err := quote.ParseSignature(a.Sig)
		must(t, err)
		der, err := asn1.Marshal([]*big.Int{r, s})
		must(t, err)
		msg := write(t, "attest", a.Attest)
		judge(t, fmt.Sprintf("the NV_Certify of entry %d", i), msg, "openssl", "dgst", "-sha256", "-verify", l.akPEM(t), "-signature", write(t, "sig", der), msg)
	}
	if checked < 4 {
		t.Errorf("%d attestations", checked)
	}
}

// notes has openssl verify the log key's line of the checkpoint, the administrators' on the policy and a host's on each
// submission.
func (l *demoLog) notes(t *testing.T) {
	keys := map[string]string{}
	vkey := func(text string) {
		for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == '"' || r == ' ' || r == '\n' }) {
			if name, rest, ok := strings.Cut(field, "+"); ok && strings.Count(rest, "+") >= 1 && len(rest) > 50 {
				_, key, _ := strings.Cut(rest, "+")
				keys[name] = key
			}
		}
	}
	vkey(l.trust.LogKey)
	l.ed25519(t, "the checkpoint", l.note, keys)
	checked := 0
	for i, e := range l.entries {
		_, body, err := ledger.Parse(e)
		must(t, err)
		switch b := body.(type) {
		case *ledger.Genesis:
			vkey(string(b.Policy))
			l.ed25519(t, "the policy", b.Policy, keys)
		case *ledger.Intent:
			checked++
			l.ed25519(t, fmt.Sprintf("the submission in entry %d", i), b.Submission, keys)
		}
	}
	if checked < 2 {
		t.Errorf("%d submissions", checked)
	}
}

// ed25519 verifies the first signature line of a note.
func (l *demoLog) ed25519(t *testing.T, what string, msg []byte, keys map[string]string) {
	t.Helper()
	at := bytes.LastIndex(msg, []byte("\n\n"))
	line := strings.Fields(strings.SplitN(string(msg[at+2:]), "\n", 2)[0])
	sig, err := base64.StdEncoding.DecodeString(line[2])
	must(t, err)
	key, err := base64.StdEncoding.DecodeString(keys[line[1]])
	if err != nil || len(key) != 33 {
		t.Fatalf("%s: no key of %s in %v", what, line[1], keys)
	}
	spki, err := hex.DecodeString("302a300506032b6570032100")
	must(t, err)
	text := write(t, "text", msg[:at+1])
	judge(t, what, text, "openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER",
		"-inkey", write(t, "key.der", append(spki, key[1:]...)), "-sigfile", write(t, "sig", sig[4:]), "-in", text)
}

// signatures has gpg and sqv verify the files.
func (l *demoLog) signatures(t *testing.T, ctx context.Context) {
	gpg, err := NewGPG(ctx, t.Output(), filepath.Join(t.TempDir(), "gnupg"), l.cert)
	must(t, err)
	for _, f := range l.files {
		if err := gpg.Verify(ctx, f+".sig", f); err != nil {
			t.Error(err)
		}
		if err := SQV(ctx, t.Output(), l.cert, f+".sig", f); err != nil {
			t.Error(err)
		}
		flipLastByte(t, f)
		if gpg.Verify(ctx, f+".sig", f) == nil || SQV(ctx, t.Output(), l.cert, f+".sig", f) == nil {
			t.Errorf("gpg or sqv accepts %s with one bit changed", f)
		}
	}
}

// tlogClient has golang.org/x/mod's own tile client read the published directory over HTTP: it proves every entry, and
// every earlier size, from tiles alone.
func (l *demoLog) tlogClient(t *testing.T) {
	server := httptest.NewServer(http.FileServer(http.Dir(l.dir)))
	defer server.Close()
	body, _, _ := strings.Cut(string(get(t, server.URL+"/checkpoint")), "\n\n")
	_, size, root, err := ledger.ParseCheckpointBody([]byte(body + "\n"))
	must(t, err)
	n := int64(size)
	hashes := tlog.TileHashReader(tlog.Tree{N: n, Hash: root}, &webTiles{t, server.URL})
	at := int64(0)
	for e := range bundle(get(t, server.URL+"/"+tilePath("entries", 0, int(n)))) {
		proof, err := tlog.ProveRecord(n, at, hashes)
		must(t, err)
		if err := tlog.CheckRecord(proof, n, root, at, tlog.RecordHash(e)); err != nil {
			t.Errorf("entry %d: %v", at, err)
		}
		at++
	}
	if at != n {
		t.Errorf("%d entries of %d", at, n)
	}
	for m := int64(1); m <= n; m++ {
		proof, err := tlog.ProveTree(n, m, hashes)
		must(t, err)
		if err := tlog.CheckTree(proof, n, root, m, l.roots[m]); err != nil {
			t.Errorf("size %d: %v", m, err)
		}
		wrong := tlog.Hash(l.roots[m])
		wrong[0] ^= 1
		if tlog.CheckTree(proof, n, root, m, wrong) == nil {
			t.Errorf("size %d: another root passes", m)
		}
	}
}

// bundle takes an entry bundle apart: C2SP tlog-tiles, "Log entries".
func bundle(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) >= 2 {
			n := int(binary.BigEndian.Uint16(b))
			if !yield(b[2 : 2+n]) {
				return
			}
			b = b[2+n:]
		}
	}
}

// tilePath is C2SP tlog-tiles' path of a tile; the demo's logs have no more than one tile a level.
func tilePath(level string, n int64, w int) string {
	path := fmt.Sprintf("tile/%s/%03d", level, n)
	if w < 256 {
		path += fmt.Sprintf(".p/%d", w)
	}
	return path
}

// webTiles reads tiles over HTTP.
type webTiles struct {
	t   *testing.T
	url string
}

func (*webTiles) Height() int                     { return 8 }
func (*webTiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (w *webTiles) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range list {
		out = append(out, get(w.t, w.url+"/"+tilePath(fmt.Sprint(tile.L), tile.N, tile.W)))
	}
	return out, nil
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	r, err := http.Get(url)
	must(t, err)
	defer func() { must(t, r.Body.Close()) }()
	b, err := io.ReadAll(io.LimitReader(r.Body, 1<<24))
	must(t, err)
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, r.Status)
	}
	return b
}
