package card

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/update"
	"touchmark/image/fat"
)

var date = time.Date(2026, 11, 16, 10, 17, 0, 0, time.UTC)

func TestTable(t *testing.T) {
	b := Table(DataSectors)
	if data, err := ParseTable(b); err != nil || data != DataSectors {
		t.Fatal(data, err)
	}
	if data, err := ParseTable(Table(7 * DataSectors)); err != nil || data != 7*DataSectors {
		t.Errorf("a data partition that was made larger: %d, %v", data, err)
	}
	for at := range b {
		if e := at - 446 - 16*3; e >= 12 && e < 16 || e >= 1 && e < 4 || e >= 5 && e < 8 {
			continue // the data's size, and its cylinders, heads and sectors
		}
		changed := bytes.Clone(b)
		changed[at] ^= 1
		if _, err := ParseTable(changed); !errors.Is(err, ErrTable) {
			t.Errorf("byte %d may be changed", at)
		}
	}
	geometry := bytes.Clone(b)
	copy(geometry[446+16*3+1:], "abc")
	copy(geometry[446+16*3+5:], "def")
	if data, err := ParseTable(geometry); err != nil || data != DataSectors {
		t.Errorf("a data partition whose cylinders somebody wrote: %d, %v", data, err)
	}
	if _, err := ParseTable(b[:511]); !errors.Is(err, ErrTable) {
		t.Error(err)
	}
}

// TestForeignReaders: the board's own reader and sfdisk see the same partitions.
func TestForeignReaders(t *testing.T) {
	b := Table(DataSectors)
	l, err := update.ReadLayout(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range []update.Extent{l.Boot, l.A, l.B, l.Data} {
		p := Partitions(DataSectors)[i]
		if e.Offset != int64(p.Start)*fat.SectorSize || e.Size != int64(p.Sectors)*fat.SectorSize {
			t.Errorf("partition %d: the board sees %+v, want %+v", i+1, e, p)
		}
		if p.Start%2048 != 0 {
			t.Errorf("partition %d begins at %d, no multiple of 1 MiB", i+1, p.Start)
		}
	}
	path := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, (DataStart+DataSectors)*fat.SectorSize); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "-d", path)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sfdisk: %v %s(run make setup)", err, out)
	}
	said := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{"label-id: 0x544d4b31", "start= 2048, size= 8192, type=e", "start= 10240, size= 65536, type=e",
		"start= 75776, size= 65536, type=e", "start= 141312, size= 2097152, type=83"} {
		if !strings.Contains(said, want) {
			t.Errorf("sfdisk does not say %q: %s", want, said)
		}
	}
}

func TestSelect(t *testing.T) {
	text := update.First().Marshal()
	b, err := Select(text, date)
	if err != nil {
		t.Fatal(err)
	}
	// One sector, which the board overwrites: everything else stays as it is.
	if at := bytes.Index(b, text); at < 0 || at%fat.SectorSize != 0 {
		t.Errorf("%s lies at %d", SelectFile, at)
	}
	if cluster := b[13]; cluster != 1 {
		t.Errorf("clusters of %d sectors: %s has more than its own", cluster, SelectFile)
	}
	for _, bad := range [][]byte{nil, text[:511], append(text, '\n')} {
		if _, err := Select(bad, date); err == nil {
			t.Errorf("%d bytes are taken", len(bad))
		}
	}
}

func TestSlot(t *testing.T) {
	s := Slot{Config: []byte("c"), Boot: bytes.Repeat([]byte("boot"), 1<<20), Sig: []byte("s")}
	b, err := s.Bytes(date)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadSlot(bytes.NewReader(b))
	if err != nil || string(got.Config) != "c" || !bytes.Equal(got.Boot, s.Boot) || string(got.Sig) != "s" {
		t.Fatal(err)
	}
	if binary.LittleEndian.Uint32(b[32:]) != SlotSectors {
		t.Error("the volume is not as large as its partition")
	}
	if _, err := (Slot{Boot: make([]byte, 33<<20)}).Bytes(date); !errors.Is(err, fat.ErrFull) {
		t.Error(err)
	}
	for name, files := range map[string][]fat.File{
		"nothing":       nil,
		"more":          {{Name: ConfigFile}, {Name: BootFile}, {Name: SigFile}, {Name: "extra.txt"}},
		"another order": {{Name: BootFile}, {Name: ConfigFile}, {Name: SigFile}},
		"another name":  {{Name: ConfigFile}, {Name: "boot.im"}, {Name: SigFile}},
	} {
		refused(t, name, fat.Volume{Label: slotLabel, ID: Signature, Files: files})
	}
	whole := []fat.File{{Name: ConfigFile}, {Name: BootFile}, {Name: SigFile}}
	refused(t, "another label", fat.Volume{Label: "TM-SL0T", ID: Signature, Files: whole})
	refused(t, "another number", fat.Volume{Label: slotLabel, ID: Signature ^ 1, Files: whole})
}

func refused(t *testing.T, name string, v fat.Volume) {
	t.Helper()
	v.Sectors, v.Date = SlotSectors, date
	b, err := v.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSlot(bytes.NewReader(b)); err == nil {
		t.Errorf("%s: taken", name)
	}
}
