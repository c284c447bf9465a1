package pcsc

import (
	"errors"
	"fmt"
	"reflect"
)

// Errno is a PC/SC return code (winscard.h; PC/SC part 5). It is unsigned and
// 32 bits wide: widened to a C long it stays positive, as in pcsc-lite.
type Errno uint32

// The return codes in use. A Backend or Card returns one of these, wrapped or
// not; any other error counts as ErrCommError.
const (
	OK                    Errno = 0
	ErrInternal           Errno = 0x80100001
	ErrInvalidHandle      Errno = 0x80100003
	ErrInvalidParameter   Errno = 0x80100004
	ErrNoMemory           Errno = 0x80100006
	ErrInsufficientBuffer Errno = 0x80100008
	ErrUnknownReader      Errno = 0x80100009
	ErrTimeout            Errno = 0x8010000A
	ErrSharingViolation   Errno = 0x8010000B
	ErrNoSmartcard        Errno = 0x8010000C
	ErrProtoMismatch      Errno = 0x8010000F
	ErrNotTransacted      Errno = 0x80100016
	ErrReaderUnavailable  Errno = 0x80100017
	ErrNoService          Errno = 0x8010001D
	ErrServiceStopped     Errno = 0x8010001E
	ErrNoReaders          Errno = 0x8010002E
	ErrCommError          Errno = 0x8010002F
	ErrUnresponsiveCard   Errno = 0x80100066
	ErrUnpoweredCard      Errno = 0x80100067
	ErrResetCard          Errno = 0x80100068
	ErrRemovedCard        Errno = 0x80100069
)

var errnoText = map[Errno]string{
	OK:                    "success",
	ErrInternal:           "internal error",
	ErrInvalidHandle:      "invalid handle",
	ErrInvalidParameter:   "invalid parameter",
	ErrNoMemory:           "too many open handles",
	ErrInsufficientBuffer: "buffer too small",
	ErrUnknownReader:      "unknown reader",
	ErrTimeout:            "timed out",
	ErrSharingViolation:   "card in use by another connection",
	ErrNoSmartcard:        "no card in the reader",
	ErrProtoMismatch:      "card and reader agree on no protocol",
	ErrNotTransacted:      "no transaction",
	ErrReaderUnavailable:  "reader gone",
	ErrNoService:          "PC/SC service not running",
	ErrServiceStopped:     "PC/SC service stopped",
	ErrNoReaders:          "no reader",
	ErrCommError:          "communication with the card failed",
	ErrUnresponsiveCard:   "card does not answer to reset",
	ErrUnpoweredCard:      "card without power",
	ErrResetCard:          "card was reset",
	ErrRemovedCard:        "card removed",
}

// Error gives the meaning and the code.
func (e Errno) Error() string {
	if s, ok := errnoText[e]; ok {
		return fmt.Sprintf("%s (PC/SC %08X)", s, uint32(e))
	}
	return fmt.Sprintf("PC/SC error %08X", uint32(e))
}

// errnoOf is the return code for a Backend's or Card's error.
func errnoOf(err error) Errno {
	var e Errno
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e) && e != OK:
		return e
	}
	return ErrCommError
}

// Code finds the PC/SC return code in an error of piv-go, in any build. Piv-go
// keeps it in an unexported field of an unexported type (*piv.scErr, field
// rc), so it is read by reflection; a test holds piv-go to that shape.
func Code(err error) (Errno, bool) {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(Errno); ok {
			return e, true
		}
		v := reflect.ValueOf(err)
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Type().String() != "*piv.scErr" {
			continue
		}
		if f := v.Elem().FieldByName("rc"); f.IsValid() && f.CanInt() {
			return Errno(f.Int()), true // truncation is meant: 32 bits count
		}
	}
	return OK, false
}
