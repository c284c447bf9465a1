package powercut

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ntSystemCall is NT_ARM_SYSTEM_CALL (linux/elf.h): the number of the call
// that is about to be made.
const ntSystemCall = 0x404

func number(r *unix.PtraceRegs) uint64 { return r.Regs[8] }

func argument(r *unix.PtraceRegs, i int) uint64 { return r.Regs[i] }

// skip has the kernel carry out no call at all.
func skip(tid int, _ *unix.PtraceRegs) error {
	none := int32(-1)
	v := unix.Iovec{Base: (*byte)(unsafe.Pointer(&none)), Len: 4}
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SETREGSET, uintptr(tid), ntSystemCall, uintptr(unsafe.Pointer(&v)), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// shorten halves the number of bytes to be written.
func shorten(tid int, r *unix.PtraceRegs) error {
	r.Regs[2] /= 2
	return unix.PtraceSetRegs(tid, r)
}

// answer replaces the call's result.
func answer(tid int, r *unix.PtraceRegs, errno int) error {
	r.Regs[0] = uint64(-int64(errno))
	return unix.PtraceSetRegs(tid, r)
}

func result(r *unix.PtraceRegs) int64 { return int64(r.Regs[0]) }
