package golden

import (
	"bytes"
	"strings"
	"testing"

	"touchmark/tpm/ledger"
)

var build = Image{Firmware: "0.1.0", Measured: ledger.Measured{Image: [32]byte{1}, Programs: [32]byte{3}}}

func TestCompare(t *testing.T) {
	m := build.Measured
	other := Image{Firmware: "0.1.0", Measured: ledger.Measured{Image: [32]byte{9}, CommandLine: [32]byte{2}, Programs: [32]byte{9}}}
	with := func(change func(*ledger.Measured)) ledger.Measured {
		c := m
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		firmware string
		measured ledger.Measured
		want     Match
	}{
		"the build's":              {"0.1.0", m, Same},
		"a command line besides":   {"0.1.0", with(func(m *ledger.Measured) { m.CommandLine[0] = 7 }), Same},
		"another image":            {"0.1.0", with(func(m *ledger.Measured) { m.Image[0]++ }), Foreign},
		"another program":          {"0.1.0", with(func(m *ledger.Measured) { m.Programs[0]++ }), Foreign},
		"another firmware":         {"0.2.0", m, Foreign},
		"an image not known":       {"0.1.0", with(func(m *ledger.Measured) { m.Image = [32]byte{} }), Unknown},
		"nothing known":            {"0.1.0", ledger.Measured{}, Unknown},
		"the other build's":        {"0.1.0", other.Measured, Same},
		"parts of both":            {"0.1.0", ledger.Measured{Image: [32]byte{1}, Programs: [32]byte{9}}, Foreign},
		"unknown and another":      {"0.1.0", ledger.Measured{Programs: [32]byte{8}}, Foreign},
		"the other's, line missed": {"0.1.0", with(func(m *ledger.Measured) { *m = other.Measured; m.CommandLine = [32]byte{} }), Unknown},
	} {
		if got := Compare(&ledger.Boot{Firmware: c.firmware, Measured: c.measured}, []Image{build, other}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := Compare(&ledger.Boot{Firmware: "0.1.0", Measured: m}, nil); got != Foreign {
		t.Errorf("without builds: %v", got)
	}
}

func FuzzParse(f *testing.F) {
	text, err := build.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(bytes.ReplaceAll(text, []byte("-"), []byte(strings.Repeat("0", 64))))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := Parse(text)
		if err != nil {
			return
		}
		again, err := g.Marshal()
		if err != nil || !bytes.Equal(text, again) {
			t.Errorf("%q became %q, %v", text, again, err)
		}
	})
}

func TestParse(t *testing.T) {
	text, err := build.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if g, err := Parse(text); err != nil || g != build {
		t.Errorf("%+v, %v", g, err)
	}
	for name, bad := range map[string]string{
		"zeros":         strings.ReplaceAll(string(text), " - ", " "+strings.Repeat("0", 64)+" "),
		"a line more":   string(text) + "more x\n",
		"two values":    strings.ReplaceAll(string(text), " - ", " "),
		"long":          strings.ReplaceAll(string(text), "0.1.0", strings.Repeat("1", 65)),
		"very long":     string(text) + strings.Repeat("x", MaxText),
		"another thing": "touchmark/trust/v1\n",
	} {
		if g, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s: taken as %+v", name, g)
		}
	}
}
