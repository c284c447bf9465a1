package powercut

import "golang.org/x/sys/unix"

func number(r *unix.PtraceRegs) uint64 { return r.Orig_rax }

func argument(r *unix.PtraceRegs, i int) uint64 {
	return [...]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10}[i]
}

// skip has the kernel carry out no call at all.
func skip(tid int, r *unix.PtraceRegs) error {
	r.Orig_rax = ^uint64(0)
	return unix.PtraceSetRegs(tid, r)
}

// shorten halves the number of bytes to be written.
func shorten(tid int, r *unix.PtraceRegs) error {
	r.Rdx /= 2
	return unix.PtraceSetRegs(tid, r)
}

// answer replaces the call's result.
func answer(tid int, r *unix.PtraceRegs, errno int) error {
	r.Rax = uint64(-int64(errno))
	return unix.PtraceSetRegs(tid, r)
}

func result(r *unix.PtraceRegs) int64 { return int64(r.Rax) }
