package sigformat_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

func specPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/spec/signature.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// examples are the blocks of signature.md that have a name.
func examples(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```text example=([a-z]+)\n(.*?)\n```").FindAllStringSubmatch(specPage(t), -1) {
		all[m[1]] = m[2]
	}
	return all
}

// TestSpecExamples: the examples of signature.md are what this package makes.
func TestSpecExamples(t *testing.T) {
	want := examples(t)
	params := elliptic.P256().Params()
	point := slices.Concat([]byte{4}, params.Gx.FillBytes(make([]byte, 32)), params.Gy.FillBytes(make([]byte, 32)))
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil || new(big.Int).SetBytes(point[1:33]).Cmp(params.Gx) != 0 {
		t.Fatal(err)
	}
	k, err := signing.NewKey(public, sigtest.Born)
	if err != nil {
		t.Fatal(err)
	}
	v, err := strictjson.Parse([]byte(want["json"]))
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := strictjson.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"keyid":     sigformat.InTotoNative.KeyID(k),
		"pae":       string(formatOf(t, "dsse-in-toto").PAE([]byte("{}"))),
		"canonical": fmt.Sprintf("%x", canonical),
	} {
		if got != want[name] {
			t.Errorf("%s: signature.md has %q, want %q", name, want[name], got)
		}
	}
}

// TestSpecMatrix: the table of signature.md §7 has each format, key type and hash
// that goes together, and no other.
func TestSpecMatrix(t *testing.T) {
	_, table, found := strings.Cut(specPage(t), "| format | key types | hashes | judges |\n")
	if !found {
		t.Fatal("signature.md has no such table")
	}
	told := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.Contains(cells[1], "`") {
			continue
		}
		for _, f := range strings.Fields(strings.ReplaceAll(cells[1], "`", "")) {
			for _, k := range strings.Fields(cells[2]) {
				for _, h := range strings.Fields(cells[3]) {
					told[f+" "+k+" "+strings.ToLower(strings.ReplaceAll(h, "-", ""))] = true
				}
			}
		}
	}
	for _, name := range sigformat.FormatNames() {
		prefix, label, _ := strings.Cut(name, "-")
		f, known := sigformat.FormatOf(prefix + "-" + strings.ToLower(label))
		if !known {
			t.Fatalf("no format %s", name)
		}
		for _, key := range tokens() {
			k := key.Algorithm()
			for _, alg := range message.Algs() {
				cell := name + " " + k + " " + string(alg)
				if goes := f.Signs(k, alg) == nil; goes != told[cell] {
					t.Errorf("%s: in the table %v, in fact %v", cell, told[cell], goes)
				}
				delete(told, cell)
			}
		}
	}
	if len(told) != 0 {
		t.Errorf("the table has also %v", told)
	}
}
