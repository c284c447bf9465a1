package screen

const (
	ctrlC  = 0x03
	escape = 0x1b
	// pageDown and pageUp stand for keys that terminals send as sequences; no
	// keyboard sends these bytes by themselves where it matters.
	pageDown = 0xfe
	pageUp   = 0xff
)

// decoder tells keys from the sequences that arrow and function keys send
// (ECMA-48 CSI and SS3), which hold letters that must not be taken for keys: a
// cursor key with Ctrl may send ESC O a, F1 on the kernel's terminal ESC [ [ A.
type decoder struct {
	in    byte // 0, escape, '[' or 'O': what was read of a sequence; 'O' is followed by one byte
	param byte // first digit of a CSI
}

// decode takes a byte and answers the key that is complete by it, 0 if none is.
// Bytes that are no ASCII are no keys.
func (d *decoder) decode(b byte) byte {
	switch {
	case b == ctrlC || b == escape: // from wherever the sequence before was left
		d.in, d.param = b, 0
		if b == ctrlC {
			d.in = 0
			return b
		}
		return 0
	case d.in == escape && (b == '[' || b == 'O'):
		d.in = b
		return 0
	case d.in == 'O':
		d.in = 0
		return 0
	case d.in == '[':
		return d.csi(b)
	}
	d.in = 0
	if b >= 0x80 {
		return 0
	}
	return b
}

// csi reads on in a control sequence: parameters and intermediates, then one
// final byte.
func (d *decoder) csi(b byte) byte {
	if b == '[' && d.param == 0 {
		d.in = 'O' // a function key of the kernel's
		return 0
	}
	if b < 0x40 || b > 0x7e {
		if d.param == 0 {
			d.param = b
		}
		return 0
	}
	d.in = 0
	switch {
	case b == 'B' || b == '~' && d.param == '6':
		return pageDown
	case b == 'A' || b == '~' && d.param == '5':
		return pageUp
	}
	return 0
}
