// Command touchmark-init is the first process of the board's image, and its only
// program that stays root: see package first. It takes no arguments: what there is
// to say, the kernel's command line says (package boot, docs/image/boot.md).
package main

import (
	"fmt"
	"os"

	"touchmark/appliance/boot/first"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "touchmark-init: it is the first process of the board's image, and nothing else (docs/image/boot.md)")
		os.Exit(2)
	}
	first.Run()
}
