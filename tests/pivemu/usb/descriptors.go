package usb

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
)

// Configuration is the number of the only configuration.
const Configuration = 1

// Descriptors are the token's: of the device, then of its configuration with all
// that belongs to it (USB 2.0 §9.6, CCID 1.1 §5.1), as a YubiKey 5 has them with
// everything but CCID switched off.
func Descriptors() []byte {
	class := make([]byte, 54)
	copy(class, []byte{54, 0x21, 0x00, 0x01, 0, 7}) // CCID 1.00, one slot, any voltage
	for at, v := range map[int]uint32{
		6:  2,              // T=1
		10: 4000, 14: 4000, // kHz
		19: 307200, // bits per second
		23: 307200,
		28: 2038,       // longest information field
		40: 0x000400fe, // extended APDUs, everything automatic
		44: MaxMessage,
	} {
		binary.LittleEndian.PutUint32(class[at:], v)
	}
	copy(class[48:], []byte{0xff, 0xff, 0, 0, 0, 1}) // class bytes echoed, one busy slot
	body := bytes.Join([][]byte{
		{9, 4, 0, 0, 3, 0x0b, 0, 0, 0}, class,
		{7, 5, 0x02, 2, 64, 0, 0}, {7, 5, 0x82, 2, 64, 0, 0}, {7, 5, 0x83, 3, 8, 0, 32},
	}, nil)
	total := uint16(9 + len(body))
	device := []byte{18, 1, 0x00, 0x02, 0, 0, 0, 64, 0x50, 0x10, 0x04, 0x04, 0x71, 0x05, 1, 2, 0, 1}
	configuration := []byte{9, 2, byte(total), byte(total >> 8), 1, Configuration, 0, 0x80, 15}
	return bytes.Join([][]byte{device, configuration, body}, nil)
}

// Text is the token's string of an index, in its descriptor's form (USB 2.0
// §9.6.7); false if there is none.
func Text(index byte) ([]byte, bool) {
	texts := []string{"", "Yubico", "YubiKey CCID"}
	if int(index) >= len(texts) {
		return nil, false
	}
	units := utf16.Encode([]rune(texts[index]))
	if index == 0 {
		units = []uint16{0x0409} // the languages: English
	}
	d := []byte{byte(2 + 2*len(units)), 3}
	for _, u := range units {
		d = binary.LittleEndian.AppendUint16(d, u)
	}
	return d, true
}
