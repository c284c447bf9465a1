package announced

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

func digest(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// log has an intent of two digests that ended in these states, and an order's.
func log(states ...ledger.State) *Log {
	l := &Log{}
	l.Add(4, &ledger.Intent{SignDigests: []message.Digest{{Sum: digest(1)}, {Sum: digest(2)}}})
	if len(states) > 0 {
		o := &ledger.Outcome{Intent: 4}
		for _, s := range states {
			o.Items = append(o.Items, ledger.ItemResult{State: s})
		}
		l.Add(5, o)
	}
	l.Add(6, &ledger.Order{Action: ledger.KindCert, Sign: message.Digest{Sum: digest(3)}})
	l.Add(7, &ledger.Boot{})
	return l
}

// TestAdmits: a signature without an entry is found, and so is one whose outcome denies it.
func TestAdmits(t *testing.T) {
	for name, tt := range map[string]struct {
		log    *Log
		digest byte
		want   string
	}{
		"announced":      {log(), 2, ""},
		"signed":         {log(ledger.Signed, ledger.Unknown), 1, ""},
		"unknown":        {log(ledger.Signed, ledger.Unknown), 2, ""},
		"order":          {log(), 3, ""},
		"unlogged":       {log(ledger.Signed, ledger.Signed), 9, "no entry announces"},
		"an empty log":   {&Log{}, 1, "no entry announces"},
		"not started":    {log(ledger.Signed, ledger.NotStarted), 2, "the log says"},
		"denied, it say": {log(ledger.Denied, ledger.Denied), 1, "the log says"},
	} {
		err := tt.log.Admits(digest(tt.digest))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpen(t *testing.T) {
	if got := log().Open(); !slices.Equal(got, []uint64{4}) {
		t.Error(got)
	}
	l := log(ledger.Signed, ledger.Signed)
	if got := l.Open(); len(got) != 0 || l.End(4) == nil || l.End(5) != nil {
		t.Error(got, l.End(4), l.End(5))
	}
}

// TestSignatures: of the token's log, commands that want a signature and were answered by one.
func TestSignatures(t *testing.T) {
	ask := func(b byte) string {
		return fmt.Sprintf("15:04:05.000000 > 00 87 11 9c 7c2482008120%x\n", digest(b))
	}
	text := ask(1) + "15:04:05.000001 - waiting for a touch\n15:04:05.000120 < 7c4882… 9000 0.12ms\n" +
		ask(2) + "15:04:05.000120 <  6982 0.12ms\n" + // nobody touched
		"15:04:05.000000 > 00 cb 3f ff 5c03\n15:04:05.000120 < 53 9000 0.12ms\n" +
		ask(3) + "15:04:05.000120 < 7c4882… 9000 0.12ms\n" + ask(4)
	if got := Signatures(text); !slices.EqualFunc(got, [][]byte{digest(1), digest(3)}, bytes.Equal) {
		t.Errorf("%x", got)
	}
}
