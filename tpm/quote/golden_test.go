package quote_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"touchmark/tpm/quote"
)

// golden reads the bytes of a real TPM emulator.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/swtpm-0.7.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == "#" {
			continue
		}
		if values[key], err = hex.DecodeString(value); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

func TestGolden(t *testing.T) {
	g := golden(t)
	ak, err := quote.ParseAK(g["ak"])
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][]byte{
		"ak": ak.Marshal(), "ak-name": ak.Name(), "ak-qualified-name": ak.QualifiedName(), "head-name": quote.HeadName(0x01800100),
	} {
		if !bytes.Equal(got, g[what]) {
			t.Errorf("%s is %x, want %x", what, got, g[what])
		}
	}
	x := [32]byte{1}
	outside := bytes.Repeat([]byte{7}, 32)
	if err := ak.VerifyCreation(quote.Creation{Data: g["creation-data"], Attest: g["creation-attest"], Sig: g["creation-sig"]}, outside); err != nil {
		t.Error(err)
	}
	nv, err := ak.VerifyNV(quote.Attestation{Attest: g["certify-attest"], Sig: g["certify-sig"]}, g["head-name"], quote.CertifyTag(x))
	if err != nil {
		t.Fatal(err)
	}
	// Read off the bytes by hand: clock 0x0a, resetCount, restartCount, safe, firmwareVersion.
	if want := (quote.Clock{Millis: 10, ResetCount: 0x2665f260, RestartCount: 0x92a0b394, Safe: true}); nv.Clock != want {
		t.Errorf("clock %+v, want %+v", nv.Clock, want)
	}
	if nv.Firmware != 0x797c2daa86c2992b || !bytes.Equal(nv.Contents[:], g["head"]) {
		t.Errorf("facts %+v", nv)
	}
	q, err := ak.VerifyQuote(quote.Attestation{Attest: g["quote-attest"], Sig: g["quote-sig"]}, 14, quote.QuoteTag(x))
	if err != nil {
		t.Fatal(err)
	}
	if q.PCRDigest != quote.PCRDigest([32]byte(g["head"])) || q.Clock.Millis != 12 { // PCR and HEAD took the same x
		t.Errorf("facts %+v", q)
	}
}

// TestTags pins the tags: printf 'touchmark/certify/v1\n' | cat - x | sha256sum.
func TestTags(t *testing.T) {
	var x [32]byte
	for want, got := range map[string][32]byte{
		"6f54a71dbfebd803702b6eb099cdecc3a7f64ab747d5fe3481dda74e326e24e4": quote.CertifyTag(x),
		"d348d0622e30bd88b9874ea7bf2c9fa4f07deefbcfd6af7b7a827586b2db06bd": quote.QuoteTag(x),
		"bd3d0b3317465704677eeef0a904457f6dc0746201db6d91a004278de57a73bb": quote.BootTag(x),
		"a68f255cc9fcca91b7c842bd859faf289534a32f69c324f8be554ae7f07108f0": quote.HelloTag([]byte("0123456789abcdef")),
		"a0624d7b88250d26174809a00d87ba5a17fd209a89ce924d34f94a481fae01af": quote.CreationTag(nil),
		"0ea9c1db3df190550ce56d97fea6bfa4ba5d965d89de29c0d5a9de1179d07391": quote.ResumeTag(x),
		"86b6eefd3ae9b397dcf176b5bdf7b6c7f9076e5b04dab746f3243de783b0b0bb": quote.ChallengeTag(x),
	} {
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("tag is %x, want %s", got, want)
		}
	}
}

// TestSpec compares the example and the constants of docs/spec/tpm.md.
func TestSpec(t *testing.T) {
	text, err := os.ReadFile("../../docs/spec/tpm.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```text example\n")
	example, _, _ = strings.Cut(example, "```")
	found := map[string]string{}
	key := ""
	for line := range strings.Lines(example) {
		if !strings.HasPrefix(line, " ") {
			key = strings.TrimSpace(line)
		} else {
			found[key] += strings.TrimSpace(line)
		}
	}
	for key, want := range golden(t) {
		if found[key] != hex.EncodeToString(want) {
			t.Errorf("example %s is %s, want %x", key, found[key], want)
		}
	}
	for _, want := range []string{
		fmt.Sprintf("4 %08x  objectAttributes", quote.AKAttributes),
		fmt.Sprintf("4 %08x  attributes", quote.HeadAttributes|1<<29),
		fmt.Sprintf("attributes `%08x`, empty password", quote.HeadAttributes),
		fmt.Sprintf("`attest` has at most %d bytes, `sig` %d, an AK %d, creation data %d;",
			quote.MaxAttest, quote.MaxSignature, quote.MaxPublic, quote.MaxCreation),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/spec/tpm.md does not say %q", want)
		}
	}
}
