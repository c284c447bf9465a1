package iso7816

import "errors"

// ErrTLV is returned for bytes that are no BER-TLV data objects.
var ErrTLV = errors.New("iso7816: malformed TLV")

// Object is one BER-TLV data object. Value aliases the bytes it came from.
type Object struct {
	Tag   uint32
	Value []byte
}

// Objects is a list of data objects of one level.
type Objects []Object

// ParseTLV reads data objects to the end of b. Non-minimal lengths are taken,
// because real readers send them; indefinite ones are not.
func ParseTLV(b []byte) (Objects, error) {
	var out Objects
	for len(b) > 0 {
		tag, rest, ok := readTag(b)
		if !ok {
			return nil, ErrTLV
		}
		n, rest, ok := readLength(rest)
		if !ok || n > len(rest) {
			return nil, ErrTLV
		}
		out = append(out, Object{tag, rest[:n]})
		b = rest[n:]
	}
	return out, nil
}

func readTag(b []byte) (uint32, []byte, bool) {
	tag := uint32(b[0])
	if b[0]&0x1f != 0x1f {
		return tag, b[1:], true
	}
	for i := 1; i < len(b) && i < maxTagBytes; i++ {
		tag = tag<<8 | uint32(b[i])
		if b[i]&0x80 == 0 {
			return tag, b[i+1:], true
		}
	}
	return 0, nil, false
}

func readLength(b []byte) (int, []byte, bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	if b[0] < 0x80 {
		return int(b[0]), b[1:], true
	}
	k := int(b[0] & 0x7f)
	if k == 0 || k > maxLengthBytes || len(b) < 1+k {
		return 0, nil, false
	}
	n := 0
	for _, v := range b[1 : 1+k] {
		n = n<<8 | int(v)
	}
	return n, b[1+k:], true
}

// Find is the value of the first object with this tag.
func (o Objects) Find(tag uint32) ([]byte, bool) {
	for _, v := range o {
		if v.Tag == tag {
			return v.Value, true
		}
	}
	return nil, false
}

// Only is the single object of a list that must hold exactly this one.
func (o Objects) Only(tag uint32) ([]byte, bool) {
	if len(o) != 1 || o[0].Tag != tag {
		return nil, false
	}
	return o[0].Value, true
}

// TLV encodes one data object whose value is the parts joined; the length is in
// its shortest form.
func TLV(tag uint32, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := make([]byte, 0, n+6)
	for shift := 24; shift >= 0; shift -= 8 {
		if t := tag >> shift; t != 0 || shift == 0 {
			out = append(out, byte(t))
		}
	}
	switch {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
