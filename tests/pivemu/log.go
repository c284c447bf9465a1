package pivemu

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"touchmark/tests/pivemu/iso7816"
)

// apduLog writes one line per APDU and per event:
//
//	15:04:05.000000 > 00 87 11 9c 7c2482008120…      command: header, data in hex
//	15:04:05.000120 < 7c4882… 9000 0.12ms            response, status word, time taken
//	15:04:05.000130 - waiting for a touch
//
// The data of commands that carry a PIN, PUK or key, and both sides of the
// PIN-protected object 5fc109 (where clients keep a management key), are
// replaced by their length. It is used under the card's lock.
type apduLog struct {
	w       io.Writer
	chained bool // the last command was a link, so the next may be one too
}

func newAPDULog(w io.Writer) *apduLog { return &apduLog{w: w} }

// printed is the tag list that names the object 5fc109.
var printed = []byte{tagList, 3, 0x5f, 0xc1, 0x09}

// secretCommand tells which data must not be written; later links of a chain do
// not name their object, so they are all hidden.
func secretCommand(c iso7816.Command, chained bool) bool {
	switch c.INS {
	case insVerify, insChangeReference, insResetRetry, insImport, insSetManagement:
		return len(c.Data) > 0
	case insPutData:
		return chained || bytes.HasPrefix(c.Data, printed)
	}
	return false
}

// secretResponse: the contents of the protected object, also when it is fetched
// in pieces, which do not name it.
func secretResponse(c iso7816.Command) bool {
	return c.INS == insGetData && bytes.HasPrefix(c.Data, printed) || c.INS == 0xc0
}

func (l *apduLog) command(in []byte) {
	if l.w == nil {
		return
	}
	c, err := iso7816.Parse(in)
	if err != nil {
		l.line('>', fmt.Sprintf("malformed, %d bytes", len(in)))
		return
	}
	text := fmt.Sprintf("%02x %02x %02x %02x ", c.CLA, c.INS, c.P1, c.P2)
	chained := l.chained
	l.chained = c.CLA&0x10 != 0
	if secretCommand(c, chained) {
		text += fmt.Sprintf("[%d bytes hidden]", len(c.Data))
	} else {
		text += fmt.Sprintf("%x", c.Data)
	}
	l.line('>', text)
}

func (l *apduLog) response(in, out []byte, took time.Duration) {
	if l.w == nil {
		return
	}
	n := len(out) - 2
	text := fmt.Sprintf("%x ", out[:n])
	if c, err := iso7816.Parse(in); err == nil && secretResponse(c) && n > 0 {
		text = fmt.Sprintf("[%d bytes hidden] ", n)
	}
	l.line('<', fmt.Sprintf("%s%x %.2fms", text, out[n:], float64(took.Microseconds())/1000))
}

func (l *apduLog) note(text string) {
	if l.w != nil {
		l.line('-', text)
	}
}

func (l *apduLog) line(kind byte, text string) {
	_, _ = fmt.Fprintf(l.w, "%s %c %s\n", time.Now().Format("15:04:05.000000"), kind, text)
}
