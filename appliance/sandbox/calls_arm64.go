package sandbox

import "golang.org/x/sys/unix"

const arch = unix.AUDIT_ARCH_AARCH64

// archCalls exist, or are used, on this machine only.
var archCalls = []uint32{unix.SYS_FSTATAT}
