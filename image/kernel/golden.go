package kernel

import (
	"crypto/sha256"
	"fmt"
)

// golden are the published kernels: SHA-256 of each variant's SHA256SUMS. They hold for the pinned source and Debian 12's
// compiler (gcc 12.2.0-14, binutils 2.40).
var golden = map[string]string{
	Board: "1a185047cc340af0d4822e72b7b862cd4c401f653c43b615987bd44782a905e6",
	QEMU:  "b4029e4eaebe7c90d27e19396cad921cb66e1ae48fa6b05cefe2cbba09331725",
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
