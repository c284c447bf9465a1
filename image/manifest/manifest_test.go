package manifest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"touchmark/image/manifest/billtest"
)

func sample() Manifest {
	return Manifest{
		Format: Format, Board: "rpi4", Version: "0.1.0", Serial: 1, Date: 1763000000,
		Files:    []File{{"boot.img", 3, "aa"}, {"sdcard.img", 4, "bb"}},
		Programs: []File{{"init", 5, "cc"}},
		Kernel:   Kernel{"board", "linux-source-6.1 6.1.192-2", "dd", "ee"},
		Debian:   []Deb{{"linux-source-6.1", "6.1.192-2", "ff"}},
		Modules:  []Mod{{"golang.org/x/sys", "v0.49.0", "h1:x", "BSD-3-Clause"}},
		Tools:    []Tool{{"go", "1.26.0"}},
	}
}

func TestParseGivesBack(t *testing.T) {
	b, err := sample().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(b)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Fatalf("%+v, %v", got, err)
	}
	if f, ok := got.File("boot.img"); !ok || f.SHA256 != "aa" {
		t.Error(f, ok)
	}
	if _, ok := got.File("boot.sig"); ok {
		t.Error("there is a boot.sig")
	}
}

func TestParseRefuses(t *testing.T) {
	b, err := sample().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, text := range map[string]string{
		"empty":          "",
		"other format":   strings.Replace(good, Format, "touchmark/image/v2", 1),
		"unknown member": strings.Replace(good, `"board"`, `"bored"`, 1),
		"more":           good + "{}",
		"negative":       strings.Replace(good, `"serial": 1`, `"serial": -1`, 1),
		"escape":         strings.Replace(good, "rpi4", `rp\u001b[2J4`, 1),
		"escape in name": strings.Replace(good, "sdcard.img", `sdcard\u009b.img`, 1),
		"huge":           good + strings.Repeat(" ", MaxBytes),
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestDifferences(t *testing.T) {
	if d := Differences(sample(), sample()); d != nil {
		t.Errorf("a manifest differs from itself: %q", d)
	}
	for name, change := range map[string]func(*Manifest){
		"format":                   func(m *Manifest) { m.Format = "v2" },
		"board":                    func(m *Manifest) { m.Board = "cm4" },
		"version":                  func(m *Manifest) { m.Version = "0.2.0" },
		"serial":                   func(m *Manifest) { m.Serial = 2 },
		"date":                     func(m *Manifest) { m.Date++ },
		"file boot.img":            func(m *Manifest) { m.Files[0].SHA256 = "ab" },
		"file sdcard.img":          func(m *Manifest) { m.Files = m.Files[:1] },
		"file new":                 func(m *Manifest) { m.Files = append(m.Files, File{"new", 1, "ab"}) },
		"program init":             func(m *Manifest) { m.Programs[0].Size++ },
		"kernel":                   func(m *Manifest) { m.Kernel.Variant = "qemu" },
		"kernel source":            func(m *Manifest) { m.Kernel.Source = "x" },
		"kernel sums":              func(m *Manifest) { m.Kernel.Sums = "x" },
		"kernel config":            func(m *Manifest) { m.Kernel.Config = "x" },
		"package linux-source-6.1": func(m *Manifest) { m.Debian[0].Version = "x" },
		"module golang.org/x/sys":  func(m *Manifest) { m.Modules[0].Licence = "MIT" },
		"tool go":                  func(m *Manifest) { m.Tools[0].Version = "1.26.1" },
	} {
		m := sample()
		change(&m)
		if d := Differences(sample(), m); len(d) != 1 || !strings.HasPrefix(d[0], name+": ") {
			t.Errorf("%s: %q", name, d)
		}
	}
}

// TestEveryMemberIsCompared: a member that somebody adds is to be compared too.
func TestEveryMemberIsCompared(t *testing.T) {
	for _, of := range []struct {
		what any
		know int
	}{{Manifest{}, 11}, {File{}, 3}, {Kernel{}, 4}, {Deb{}, 3}, {Mod{}, 4}, {Tool{}, 2}} {
		if n := reflect.TypeOf(of.what).NumField(); n != of.know {
			t.Errorf("%T has %d members: have Differences compare them", of.what, n)
		}
	}
}

// TestBill reads the list as any reader of SPDX would: identifiers stand once, relationships lead somewhere, what a licence
// reference names is there.
func TestBill(t *testing.T) {
	parts := []Component{{"linux", "6.1", "GPL-2.0-only WITH Linux-syscall-note", "pkg:deb/debian/linux-source-6.1@6.1", "ab"},
		{"raspi-firmware", "1", FirmwareLicence, "pkg:deb/debian/raspi-firmware@1", ""}}
	b, err := Bill(sample(), parts, "text of the licence")
	if err != nil {
		t.Fatal(err)
	}
	var d spdxDocument
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{d.ID: true}
	names := map[string]bool{}
	for _, p := range d.Packages {
		if ids[p.ID] || strings.Trim(strings.TrimPrefix(p.ID, "SPDXRef-"), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Errorf("identifier %s stands twice or is none", p.ID)
		}
		ids[p.ID], names[p.Name] = true, true
		if strings.HasPrefix(p.Declared, "LicenseRef-") && p.Declared != d.Licences[0].ID {
			t.Errorf("%s: nobody says what %s is", p.Name, p.Declared)
		}
	}
	for _, r := range d.Relationships {
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("%s %s %s leads nowhere", r.From, r.Kind, r.To)
		}
	}
	if len(d.Relationships) != len(d.Packages) {
		t.Errorf("%d relationships of %d packages", len(d.Relationships), len(d.Packages))
	}
	for _, want := range []string{"touchmark-rpi4-0.1.0", "linux", "raspi-firmware", "golang.org/x/sys"} {
		if !names[want] {
			t.Errorf("%s is missing", want)
		}
	}
	if d.Creation.Created != "2025-11-13T02:13:20Z" || !strings.HasSuffix(d.Namespace, ":aa") {
		t.Errorf("%+v %s", d.Creation, d.Namespace)
	}
	others := billtest.Judge(t, b)
	if len(others.Packages) != len(d.Packages) || len(others.OtherLicenses) != 1 {
		t.Errorf("others read %d packages and %d licences of their own", len(others.Packages), len(others.OtherLicenses))
	}
	if again, err := Bill(sample(), parts, "text of the licence"); err != nil || string(again) != string(b) {
		t.Errorf("the list differs from one time to the next: %v", err)
	}
}

// TestOthersRefuse: the judges of a list are none that take everything.
func TestOthersRefuse(t *testing.T) {
	parts := []Component{{"linux", "6.1", "GPL-2.0-only WITH Linux-syscall-note", "pkg:deb/debian/linux-source-6.1@6.1", "ab"}}
	b, err := Bill(sample(), parts, "")
	if err != nil {
		t.Fatal(err)
	}
	for what, with := range map[string]string{
		`"relatedSpdxElement": "SPDXRef-1-linux"`: `"relatedSpdxElement": "SPDXRef-2-linux"`,
		"GPL-2.0-only": "GPL-2", "Linux-syscall-note": "no-such-exception", "BSD-3-Clause": "LicenseRef-nobody-has",
		"DESCRIBES": "CONTAINS", "SPDX-2.3": "SPDX-9.9", `"CONTAINS"`: `7`,
	} {
		if _, err := billtest.Read(bytes.ReplaceAll(b, []byte(what), []byte(with))); err == nil {
			t.Errorf("%s in place of %s: taken", with, what)
		}
	}
}

func FuzzParse(f *testing.F) {
	b, err := sample().Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		again, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(again); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%v: %+v becomes %+v", err, m, got)
		}
	})
}
