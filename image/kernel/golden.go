package kernel

import (
	"crypto/sha256"
	"fmt"
)

// golden are the published kernels: SHA-256 of each variant's SHA256SUMS. They hold for the pinned source and Debian 12's
// compiler (gcc 12.2.0-14, binutils 2.40).
var golden = map[string]string{
	Board: "c0b71d3a50349883b53e688367de9d1d40ffe9e1504984213e4f076b26e39789",
	QEMU:  "0926a55c3ee1c7b16003e3bde966d08bc59bfa33d631426279ae941c182462de",
}

// Golden holds a kernel against the published one of its variant, or against accept if that is not empty: a kernel that
// somebody changed on purpose, or built with another compiler.
func Golden(variant string, k Kernel, accept string) error {
	want := accept
	if want == "" {
		want = golden[variant]
	}
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(k.Sums))); got != want {
		return fmt.Errorf("kernel: %s in %s is not the published one: %s has SHA-256 %s, not %s; "+
			"if options, source or compiler were changed on purpose, build with --kernel %s, or enter it in image/kernel/golden.go",
			variant, k.Dir, sumsName, got, want, got)
	}
	return nil
}
