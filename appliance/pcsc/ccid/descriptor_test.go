package ccid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// yubikey is what a YubiKey 5 with OTP, FIDO and CCID shows, shortened.
func yubikey() []byte {
	class := make([]byte, lenCCID)
	copy(class, []byte{lenCCID, typeCCID, 0x00, 0x01, 0, 7, 2})
	binary.LittleEndian.PutUint32(class[40:], 0x000400fe)
	binary.LittleEndian.PutUint32(class[44:], 3072)
	return bytes.Join([][]byte{
		{18, 1, 0, 2, 0, 0, 0, 64, 0x50, 0x10, 0x07, 0x04, 0x43, 0x05, 1, 2, 0, 1},
		{9, typeConfiguration, 0, 0, 2, 1, 0, 0x80, 15},
		{9, typeInterface, 0, 0, 1, 3, 1, 1, 0}, {9, 0x21, 0x10, 1, 0, 1, 0x22, 71, 0}, {7, typeEndpoint, 0x81, 3, 8, 0, 10},
		{9, typeInterface, 1, 0, 3, classSmartCard, 0, 0, 0}, class,
		{7, typeEndpoint, 0x02, 2, 64, 0, 0}, {7, typeEndpoint, 0x83, 2, 64, 0, 0}, {7, typeEndpoint, 0x84, 3, 8, 0, 32},
	}, nil)
}

func TestFindInterface(t *testing.T) {
	got, err := FindInterface(yubikey(), 1)
	want := Interface{Number: 1, In: 0x83, Out: 0x02, PacketSize: 64, MaxMessage: 3072, Extended: true}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// where finds a descriptor in yubikey by its first bytes.
func where(t *testing.T, start ...byte) int {
	t.Helper()
	at := bytes.Index(yubikey(), start)
	if at < 0 {
		t.Fatal("no such descriptor")
	}
	return at
}

func TestUnusableInterfaces(t *testing.T) {
	class, ccid := where(t, lenCCID, typeCCID), where(t, 9, typeInterface, 1)
	in := where(t, 7, typeEndpoint, 0x83)
	for _, c := range []struct {
		name  string
		at    int
		value byte
		want  error // nil: any
	}{
		{"no CCID interface", ccid + 5, 3, ErrNoInterface},
		{"an alternate setting only", ccid + 3, 1, ErrNoInterface},
		{"control pipe protocol", ccid + 7, 1, ErrNoInterface},
		{"another configuration", where(t, 9, typeConfiguration) + 5, 2, ErrNoInterface},
		{"characters only", class + 42, 0, nil},
		{"TPDUs only", class + 42, 1, nil},
		{"all levels at once", class + 42, 7, nil},
		{"T=0 only", class + 6, 1, nil},
		{"messages of 256 bytes", class + 45, 1, nil},
		{"no bulk-in", in + 3, 3, nil},
		{"packets of no bytes", in + 4, 0, nil},
		{"packets of 63 bytes", in + 4, 63, nil},
		{"packets of 2112 bytes", in + 5, 8, nil},
		{"no description", class + 1, 0x22, nil},
		{"a descriptor of no bytes", ccid, 0, ErrMalformed},
		{"a descriptor of one byte", ccid, 1, ErrMalformed},
		{"a descriptor beyond the end", where(t, 7, typeEndpoint, 0x84), 8, ErrMalformed},
	} {
		b := yubikey()
		b[c.at] = c.value
		if got, err := FindInterface(b, 1); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	if _, err := FindInterface(make([]byte, MaxDescriptors+1), 1); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	b := yubikey()
	binary.LittleEndian.PutUint32(b[class+44:], 1<<31)
	if got, err := FindInterface(b, 1); err != nil || got.MaxMessage != maxMessage {
		t.Errorf("messages of gigabytes: %+v, %v", got, err)
	}
}
