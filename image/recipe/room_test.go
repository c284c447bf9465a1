package recipe

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"touchmark/image/card"
	"touchmark/image/fat"
	"touchmark/tests/biglog"
	"touchmark/tpm/ledgerstore"
)

// spare is what a board leaves: with less it warns (docs/image/boot.md).
const spare = 64 << 20

// TestRoomForSignatures: a new card has room for the signatures that package card promises, by what a board's store really
// writes for one, and by what the file system really leaves. Neither promise is so modest that it tells nothing.
func TestRoomForSignatures(t *testing.T) {
	free := freeOnNewCard(t) - spare
	for name, x := range map[string]struct {
		rounds   []int
		made     int // signatures that are measured
		promised int64
	}{"alone": {[]int{1}, 1_000, card.SignaturesAlone}, "rounds of a dozen": {[]int{12}, 6_000, card.SignaturesInRounds}} {
		each := onDisk(t, x.rounds, x.made)
		room := int64(float64(free) / each)
		t.Logf("%s: %.0f bytes a signature, room for %d of them in %d MiB", name, each, room, free>>20)
		if room < x.promised || room > x.promised*5/4 {
			t.Errorf("%s: there is room for %d signatures, promised are %d", name, room, x.promised)
		}
	}
}

// freeOnNewCard is how many bytes files may have on a new card's data partition.
func freeOnNewCard(t *testing.T) int64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate((card.DataStart + card.DataSectors) * fat.SectorSize); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := makeData(t.Context(), path, card.DataSectors, date); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/sbin/debugfs", "-R", "stats -h", fmt.Sprintf("%s?offset=%d", path, card.DataStart*fat.SectorSize))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs: %v %s", err, out)
	}
	number := func(what string) int64 {
		m := regexp.MustCompile(`(?m)^` + what + `: +([0-9]+)$`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("debugfs does not say %s: %s", what, out)
		}
		n, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return (number("Free blocks") - number("Reserved block count")) * number("Block size")
}

// onDisk is what a board's log takes for a signature: all files of its folder, with the entries of a day's start and the like,
// without the one that begins a log.
func onDisk(t *testing.T, rounds []int, signatures int) float64 {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	store, err := ledgerstore.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := biglog.GenerateIn(rounds, signatures, func(a biglog.Append) error { return store.Append(a.Entries, a.Plan) })
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return float64(total) / float64(facts.Signatures)
}
