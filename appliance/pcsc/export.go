//go:build linux && !pcscd

package pcsc

// #cgo pkg-config: libpcsclite
// #include <PCSC/winscard.h>
import "C"

import (
	"fmt"
	"os"
	"unsafe"
)

// guard turns f's code into a C return value, and a panic into an error: an
// unwinding Go stack must not meet C frames.
func guard(f func() Errno) (rc C.LONG) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintln(os.Stderr, "pcsc: panic in a card call:", p)
			rc = C.LONG(uint32(ErrInternal))
		}
	}()
	return C.LONG(f())
}

//export SCardEstablishContext
func SCardEstablishContext(scope C.DWORD, r1, r2 C.LPCVOID, out C.LPSCARDCONTEXT) C.LONG {
	return guard(func() Errno {
		if out == nil {
			return ErrInvalidParameter
		}
		n, e := process.establish()
		*out = C.SCARDCONTEXT(n)
		return e
	})
}

//export SCardReleaseContext
func SCardReleaseContext(context C.SCARDCONTEXT) C.LONG {
	return guard(func() Errno { return process.release(int64(context)) })
}

//export SCardListReaders
func SCardListReaders(context C.SCARDCONTEXT, groups C.LPCSTR, out C.LPSTR, size C.LPDWORD) C.LONG {
	return guard(func() Errno {
		if size == nil {
			return ErrInvalidParameter
		}
		room := *size
		*size = 0
		names, e := process.readers(int64(context))
		if e != OK {
			return e
		}
		*size = C.DWORD(len(names))
		if out == nil { // the caller asks for the size
			return OK
		}
		return give(unsafe.Pointer(out), room, names)
	})
}

//export SCardConnect
func SCardConnect(context C.SCARDCONTEXT, reader C.LPCSTR, share, protocols C.DWORD, out C.LPSCARDHANDLE, active C.LPDWORD) C.LONG {
	return guard(func() Errno {
		known := share == C.SCARD_SHARE_EXCLUSIVE || share == C.SCARD_SHARE_SHARED
		if reader == nil || out == nil || active == nil || !known || protocols&C.SCARD_PROTOCOL_T1 == 0 {
			return ErrInvalidParameter
		}
		name := C.GoString((*C.char)(unsafe.Pointer(reader)))
		n, e := process.connect(int64(context), name, share == C.SCARD_SHARE_EXCLUSIVE)
		*out, *active = C.SCARDHANDLE(n), C.SCARD_PROTOCOL_T1
		return e
	})
}

//export SCardDisconnect
func SCardDisconnect(h C.SCARDHANDLE, disposition C.DWORD) C.LONG {
	return guard(func() Errno { return process.disconnect(int64(h), disposition != C.SCARD_LEAVE_CARD) })
}

//export SCardBeginTransaction
func SCardBeginTransaction(h C.SCARDHANDLE) C.LONG {
	return guard(func() Errno { return process.begin(int64(h)) })
}

//export SCardEndTransaction
func SCardEndTransaction(h C.SCARDHANDLE, disposition C.DWORD) C.LONG {
	return guard(func() Errno { return process.end(int64(h), disposition != C.SCARD_LEAVE_CARD) })
}

// SCardTransmit works on the caller's buffers directly; a request that carries
// a PIN is cleared there (the parameter is const in C, but the memory is
// piv-go's one-time request slice, which it does not read again).
//
//export SCardTransmit
func SCardTransmit(h C.SCARDHANDLE, pci C.LPCSCARD_IO_REQUEST, in C.LPCBYTE, n C.DWORD, rpci C.LPSCARD_IO_REQUEST, out C.LPBYTE, size C.LPDWORD) C.LONG {
	return guard(func() Errno {
		if pci == nil || pci.dwProtocol != C.SCARD_PROTOCOL_T1 || in == nil || n > MaxAPDU || out == nil || size == nil {
			return ErrInvalidParameter
		}
		room := *size
		*size = 0
		resp, e := process.transmit(int64(h), unsafe.Slice((*byte)(unsafe.Pointer(in)), int(n)))
		if e != OK {
			return e
		}
		*size = C.DWORD(len(resp))
		return give(unsafe.Pointer(out), room, resp)
	})
}

func give(out unsafe.Pointer, room C.DWORD, b []byte) Errno {
	if room < C.DWORD(len(b)) {
		return ErrInsufficientBuffer
	}
	copy(unsafe.Slice((*byte)(out), len(b)), b)
	return OK
}
