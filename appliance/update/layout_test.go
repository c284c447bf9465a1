package update_test

import (
	"bytes"
	"strings"
	"testing"

	"touchmark/appliance/update"
	"touchmark/appliance/update/cardtest"
)

func TestLayout(t *testing.T) {
	good := cardtest.Card(update.First())
	l, err := update.ReadLayout(bytes.NewReader(good))
	if err != nil || l.Slot(update.A).Size != cardtest.SlotSize || l.Slot(update.B).Offset != l.A.Offset+cardtest.SlotSize || l.Data.Size == 0 {
		t.Fatalf("%+v, %v", l, err)
	}
	for want, change := range map[string]func(b []byte){
		"no partition table":      func(b []byte) { b[511] = 0 },
		"partition 1 has type":    func(b []byte) { b[446+4] = 0x83 },
		"partition 4 has type":    func(b []byte) { b[446+48+4] = 0x0e },
		"partition 2 overlaps":    func(b []byte) { b[446+16+8]-- },
		"partition 1 overlaps":    func(b []byte) { b[446+8] = 0 },
		"partition 3 overlaps":    func(b []byte) { copy(b[446+32+12:], []byte{0, 0, 0, 0}) },
		"partition 4 overlaps":    func(b []byte) { b[446+32+15] = 0xff },
		"reading the partition t": nil,
	} {
		b := bytes.Clone(good)
		if change == nil {
			b = b[:100]
		} else {
			change(b)
		}
		if _, err := update.ReadLayout(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestBootImage(t *testing.T) {
	im, slot := cardtest.Image("2", 2)
	if got, err := update.BootImage(bytes.NewReader(slot), int64(len(slot))); err != nil || got != im.Image {
		t.Fatalf("%x, %v", got, err)
	}
	if err := update.Check(bytes.NewReader(slot), im); err != nil {
		t.Fatal(err)
	}
	im.Image[0]++
	if err := update.Check(bytes.NewReader(slot), im); err == nil {
		t.Error("another boot.img passes")
	}
}
