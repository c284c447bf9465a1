package frame

import "bytes"

// maxRun is the longest run of non-zero bytes behind one COBS code byte.
const maxRun = 254

// appendCOBS stuffs src. A code byte c < 0xff stands for c-1 bytes and a zero,
// 0xff for 254 bytes and no zero. The zero of the last group is implied, and no
// empty group follows a full one that ends the data.
func appendCOBS(dst, src []byte) []byte {
	for {
		run := bytes.IndexByte(src, 0)
		if run < 0 {
			run = len(src)
		}
		if run >= maxRun {
			dst = append(append(dst, 0xff), src[:maxRun]...)
			if src = src[maxRun:]; len(src) == 0 {
				return dst
			}
			continue
		}
		dst = append(append(dst, byte(run+1)), src[:run]...)
		if run == len(src) {
			return dst
		}
		src = src[run+1:]
	}
}

// decodeCOBS unstuffs b in place and returns the
// shorter slice. It refuses a group longer than what is left and the one
// redundant spelling, an empty last group after a full one: so that every
// data has exactly one encoding.
func decodeCOBS(b []byte) ([]byte, error) {
	w, full := 0, false
	for r := 0; r < len(b); {
		code := int(b[r])
		end := r + code
		if code == 0 || end > len(b) || full && code == 1 && end == len(b) {
			return nil, ErrStuffing
		}
		w += copy(b[w:], b[r+1:end])
		r, full = end, code == 0xff
		if !full && r < len(b) {
			b[w] = 0
			w++
		}
	}
	return b[:w], nil
}
