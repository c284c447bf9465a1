package sandbox

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// restrictCalls leaves all threads the system calls of the list.
func restrictCalls(unixSockets bool) error {
	filter := newFilter(os.Getpid(), unixSockets)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, pointer(&program))
	if errno != 0 {
		return errno
	}
	return nil
}

// What the kernel is to do with a call.
const (
	allow  = unix.SECCOMP_RET_ALLOW
	refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	kill   = unix.SECCOMP_RET_KILL_PROCESS
)

// Offsets in struct seccomp_data of <linux/seccomp.h>; both machines are little-endian.
const (
	atNumber = 0
	atArch   = 4
	atArgs   = 16
)

func low(arg int) uint32  { return uint32(atArgs + 8*arg) }
func high(arg int) uint32 { return uint32(atArgs + 8*arg + 4) }

// Instructions of classic BPF (<linux/bpf_common.h>).
func load(at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
}
func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}
func ret(what uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what}
}

// skipUnless goes on with the next instruction if the value is k, else skips n.
func skipUnless(k uint32, n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: uint8(n)}
}

// A test is what a call's arguments must be, in instructions that end with an answer.
type test []unix.SockFilter

// masked: of an argument's low word, these bits are so.
func masked(arg int, mask, want uint32) test {
	return test{load(low(arg)), and(mask), skipUnless(want, 1), ret(allow), ret(refuse)}
}

// is: an argument's low word is this.
func is(arg int, want uint32) test { return masked(arg, ^uint32(0), want) }

// null: an argument is a null pointer.
func null(arg int) test {
	return test{load(low(arg)), skipUnless(0, 3), load(high(arg)), skipUnless(0, 1), ret(allow), ret(refuse)}
}

// none: an argument's low word is none of these.
func none(arg int, of ...uint32) test {
	t := test{load(low(arg))}
	for _, k := range of {
		t = append(t, skipUnless(k, 1), ret(refuse))
	}
	return append(t, ret(allow))
}

// newFilter is the program that decides on each call.
func newFilter(pid int, unixSockets bool) []unix.SockFilter {
	f := []unix.SockFilter{load(atArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1}, ret(kill), load(atNumber)}
	plain := slices.Concat(calls, archCalls)
	if unixSockets {
		plain = append(plain, socketCalls...)
	}
	for _, n := range plain {
		f = append(f, skipUnless(n, 1), ret(allow))
	}
	tests := testedCalls(pid)
	if unixSockets {
		tests = append(tests, testedCall{unix.SYS_SOCKET, is(0, unix.AF_UNIX)})
	}
	for _, c := range tests {
		f = append(f, skipUnless(c.number, len(c.test)))
		f = append(f, c.test...)
	}
	return append(f, ret(refuse))
}

// testedCall is one that depends on its arguments.
type testedCall struct {
	number uint32
	test   test
}

func testedCalls(pid int) []testedCall {
	return []testedCall{
		{unix.SYS_CLONE, masked(0, unix.CLONE_THREAD, unix.CLONE_THREAD)}, // threads, no processes
		{unix.SYS_CLONE3, test{ret(absent)}},                              // its flags are in memory; libc then uses clone
		{unix.SYS_MMAP, masked(2, unix.PROT_EXEC, 0)},
		{unix.SYS_MPROTECT, masked(2, unix.PROT_EXEC, 0)},
		{unix.SYS_IOCTL, none(1, unix.TIOCSTI, unix.TIOCLINUX)}, // which type for whoever reads the terminal
		{unix.SYS_TGKILL, is(0, uint32(pid))},
		{unix.SYS_PRLIMIT64, null(2)}, // reading limits
	}
}

// calls are those that Go's runtime, its os package and what this project does
// with files, pipes and devices need.
var calls = []uint32{
	// memory
	unix.SYS_BRK, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_MLOCK, unix.SYS_MUNLOCK, unix.SYS_MEMBARRIER,
	// threads and signals
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SET_TID_ADDRESS,
	unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN,
	unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
	// time and randomness
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_NANOSLEEP, unix.SYS_GETTIMEOFDAY, unix.SYS_GETRANDOM,
	// who and where this is
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRUSAGE, unix.SYS_GETRLIMIT, unix.SYS_GETCWD,
	// waiting
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_PPOLL, unix.SYS_PSELECT6, unix.SYS_EVENTFD2,
	// open files
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_LSEEK, unix.SYS_CLOSE,
	unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FADVISE64, unix.SYS_FSTAT, unix.SYS_FSTATFS,
	unix.SYS_FCHMOD, unix.SYS_FLOCK, unix.SYS_FCNTL, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_GETDENTS64,
	unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE,
	// names of files
	unix.SYS_OPENAT, unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_MKDIRAT,
	unix.SYS_UNLINKAT, unix.SYS_TRUNCATE, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_FCHMODAT, unix.SYS_UMASK,
}

// socketCalls go with unix sockets.
var socketCalls = []uint32{
	unix.SYS_CONNECT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT,
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN,
}
