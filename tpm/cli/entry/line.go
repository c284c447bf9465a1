package entry

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledger/summary"
)

// item is an item of an intent for people and programs to read.
type item struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	Digest string `json:"digest"`
	Size   uint64 `json:"size"`
	Sign   string `json:"sign"`
}

func itemsOf(in *ledger.Intent) (class string, items []item, err error) {
	a, err := summary.Approval(in)
	if err != nil {
		return "", nil, err
	}
	for i, it := range a.Items {
		p := item{Name: it.Name, Format: it.Format, Digest: it.Digest.String(), Size: it.Size}
		if i < len(in.SignDigests) {
			p.Sign = in.SignDigests[i].String()
		}
		items = append(items, p)
	}
	return a.Class, items, nil
}

// line is an entry for programs.
type line struct {
	Index  uint64            `json:"index"`
	Time   time.Time         `json:"time"`
	Kind   string            `json:"kind"` // "" when it does not parse
	Status string            `json:"status,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
	Items  []item            `json:"items,omitempty"`
	States []string          `json:"states,omitempty"`
	Entry  string            `json:"entry,omitempty"` // of export
	Bytes  []byte            `json:"bytes,omitempty"` // of export, if it is no text; base64
}

func lineOf(h ledger.Header, body any) line {
	l := line{Index: h.Index, Time: h.Time, Kind: ledger.KindOf(body)}
	switch b := body.(type) {
	case *ledger.Genesis:
		l.Fields = map[string]string{"origin": b.Origin}
		for _, k := range b.Keys {
			l.Fields["key "+k.Name] = tokenKeyText(&k)
		}
	case *ledger.Boot:
		l.Fields = map[string]string{"boot": fmt.Sprint(b.Number), "committed": fmt.Sprint(b.Committed), "recovery": b.Recovery, "firmware": b.Firmware, "clock": b.Clock, "measured": strings.Join(b.Measured.Fields(), " ")}
	case *ledger.Attest:
		l.Fields = map[string]string{"size": fmt.Sprint(b.Size)}
		if !b.HasQuote() {
			l.Fields["quote"] = "missing"
		}
	case *ledger.Intent:
		l.Fields = map[string]string{"sequence": fmt.Sprint(b.Sequence), "job": b.Job.String()}
		class, items, err := itemsOf(b)
		if l.Items = items; err == nil {
			l.Fields["class"] = class
		} else {
			l.Fields["error"] = err.Error()
		}
	case *ledger.Outcome:
		l.Fields = map[string]string{"intent": fmt.Sprint(b.Intent), "job": b.Job.String()}
		for _, it := range b.Items {
			l.States = append(l.States, strings.TrimSpace(string(it.State)+" "+it.Reason))
		}
	case *ledger.Update:
		l.Fields = map[string]string{"from": b.From, "to": b.To, "image": imageText(b.Image)}
	case *ledger.Order:
		l.Fields = map[string]string{"previous": fmt.Sprint(b.Previous), "mirrored": mirroredText(b.Mirrored), "note": firstLines(b.Note)}
		if b.Action == ledger.KindCert {
			l.Fields["sign"] = b.Sign.String()
		}
		o := parsedOrder(b)
		if o == nil {
			return l
		}
		l.Fields["reason"] = o.Reason
		if k, ok := o.Action.(*order.Key); ok && k.Token != nil {
			l.Fields["key "+k.Token.Name] = tokenKeyText(k.Token)
		}
	case error:
		l.Fields = map[string]string{"error": b.Error()}
	}
	return l
}

func tokenKeyText(k *ledger.TokenKey) string {
	return fmt.Sprintf("%X in slot %s of token %d firmware %s %s", k.Fingerprint, k.Slot, k.Token.Serial, k.Token.Firmware, ledger.EmulatedWord(k.Token.Emulated))
}

// parsedOrder is what a note orders, nil if it is a policy or does not parse.
func parsedOrder(b *ledger.Order) *order.Order {
	if b.Action == ledger.KindPolicy {
		return nil
	}
	text, err := message.NoteText(b.Note)
	if err != nil {
		return nil
	}
	o, err := order.Parse(text)
	if err != nil {
		return nil
	}
	return o
}

func imageText(sum []byte) string {
	if sum == nil {
		return "unknown"
	}
	return hex.EncodeToString(sum)
}

func mirroredText(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// firstLines is the text of a note without its signatures, for programs.
func firstLines(msg []byte) string {
	text, err := message.NoteText(msg)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
