package kernel

import (
	"crypto/sha256"
	"fmt"
)

// golden are the published kernels: SHA-256 of each variant's SHA256SUMS. They hold for the pinned source and Debian 12's
// compiler (gcc 12.2.0-14, binutils 2.40).
var golden = map[string]string{
	Board: "bf7b859950ce3991d86cc6668cfb03ef97c472ac2f4eafa9ce20129427cd95f5",
	QEMU:  "bd55db5d57fd4f3d9fb3e175d62ff4a64c141afe7aa4543e0df5569233ea7051",
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
