package ccid

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// hostile plays the transfers of the fuzzer's input, each after two bytes of
// length, and ends when they do. With mend set it puts the sequence number that
// is awaited into each, so that more than the first check is met.
type hostile struct {
	input    []byte
	mend     bool
	seq      byte
	receives int
	longest  int
}

func (h *hostile) Send(b []byte) error {
	h.seq, h.longest = b[6], max(h.longest, len(b))
	return nil
}

func (h *hostile) Receive(b []byte) (int, error) {
	h.receives++
	if len(h.input) < 2 {
		return 0, errGone
	}
	n := min(int(binary.LittleEndian.Uint16(h.input)), len(h.input)-2)
	m := h.input[2 : 2+n]
	h.input = h.input[2+n:]
	k := copy(b, m)
	if h.mend && k > 6 {
		b[6] = h.seq
	}
	return k, nil
}

// FuzzSlot: whatever a device sends, the slot neither panics nor takes more
// memory or transfers than its limits allow, nor sends longer messages than
// agreed, nor returns more than an APDU.
func FuzzSlot(f *testing.F) {
	f.Add([]byte{0, 0}, true, uint16(10))
	f.Fuzz(func(t *testing.T, input []byte, mend bool, n uint16) {
		h := &hostile{input: bytes.Clone(input), mend: mend}
		device := small
		device.MaxMessage = minMessage
		s := NewSlot(h, device)
		if atr, err := s.PowerOn(); err == nil && (len(atr) == 0 || len(atr) > maxATR) {
			t.Errorf("an answer to reset of %d bytes", len(atr))
		}
		apdu := make([]byte, n)
		if got, err := s.Transmit(apdu); len(got) > MaxAPDU || err != nil && got != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		_ = s.PowerOff()
		if h.longest > device.MaxMessage {
			t.Errorf("a message of %d bytes was sent", h.longest)
		}
		if h.receives > 3*len(input)/2+3+int(n)/261+maxParts {
			t.Errorf("%d transfers of %d bytes", h.receives, len(input))
		}
	})
}

// FuzzFindInterface: what is found can be used.
func FuzzFindInterface(f *testing.F) {
	f.Add(yubikey(), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, configuration byte) {
		got, err := FindInterface(b, configuration)
		if err != nil {
			return
		}
		if got.MaxMessage < minMessage || got.MaxMessage > maxMessage || got.PacketSize < 8 || got.In == 0 || got.Out == 0 {
			t.Errorf("%+v", got)
		}
		NewSlot(nil, got)
	})
}
