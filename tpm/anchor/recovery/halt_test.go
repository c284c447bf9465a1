package recovery

import (
	"os"
	"strings"
	"testing"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/order"
)

func TestResume(t *testing.T) {
	head, pcr := [32]byte{1}, [32]byte{2}
	for _, c := range []struct {
		name string
		halt Halt
		by   order.Resume
		pcr  [32]byte
		want string // part of the error, "" for none
	}{
		{"as it stands", HeadUnknown, order.Resume{Halt: "head-unknown", Head: head, PCR: pcr}, pcr, ""},
		{"after a reset", HeadUnknown, order.Resume{Halt: "head-unknown", Head: head, PCR: pcr}, [32]byte{}, ""},
		{"a host promises more since", HeadAhead, order.Resume{Halt: "head-unknown", Head: head, PCR: pcr}, pcr, ""},
		{"a host promises no more", HeadUnknown, order.Resume{Halt: "head-ahead", Head: head, PCR: pcr}, pcr, ""},
		{"went back", HeadBehind, order.Resume{Halt: "head-behind", Head: head, PCR: pcr}, pcr, ""},
		{"the PCR", PCRUnexplained, order.Resume{Halt: "pcr-unexplained", Head: head, PCR: pcr}, pcr, ""},
		{"of another state", HeadBehind, order.Resume{Halt: "head-unknown", Head: head, PCR: pcr}, pcr, "halted with"},
		{"not halted", "", order.Resume{Head: head, PCR: pcr}, pcr, "no resuming"},
		{"no HEAD", HeadMissing, order.Resume{Halt: "head-missing", Head: head, PCR: pcr}, pcr, "right one back"},
		{"no AK", AKMissing, order.Resume{Halt: "ak-missing", Head: head, PCR: pcr}, pcr, "right one back"},
		{"another HEAD", HeadUnknown, order.Resume{Halt: "head-unknown", Head: [32]byte{9}, PCR: pcr}, pcr, "HEAD stands at"},
		{"another PCR", HeadUnknown, order.Resume{Halt: "head-unknown", Head: head, PCR: pcr}, [32]byte{9}, "PCR"},
	} {
		err := Decision{Halt: c.halt}.Resume(Observed{Head: head, PCR: c.pcr}, &c.by)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Every halt state has its row in the specification, with what the operator is
// told.
func TestSpecHalts(t *testing.T) {
	page, err := os.ReadFile("../../../docs/spec/anchor.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## 5. Halt states\n")
	if !ok {
		t.Fatal("anchor.md has no section of halt states")
	}
	text := strings.Join(strings.Fields(section), " ")
	for _, h := range Halts {
		advice := h.Advice()
		if !message.ValidHuman(advice) || !message.ValidToken(string(h)) {
			t.Errorf("%s: %q", h, advice)
		}
		if !strings.Contains(text, "| `"+string(h)+"` |") || !strings.Contains(text, advice) {
			t.Errorf("%s, %q: not in anchor.md as it stands", h, advice)
		}
	}
	if strings.Count(section, "\n| `") < len(Halts) || Halt("").Advice() != "" {
		t.Error("anchor.md's table does not fit")
	}
}
