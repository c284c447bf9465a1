package recipe

import (
	"time"

	"touchmark/image/board"
	"touchmark/image/debian"
)

// What is taken from Debian, each in one version. To move to another kernel: change the pin, run `make image`, try the
// result, and enter the hashes that it names in image/kernel/golden.go.
var (
	linuxSource = debian.Package{Name: "linux-source-6.1", Version: "6.1.192-2", Arch: "all",
		SHA256: "ae95fe63d4c553f8d0e6c86cb1ab566f3894a43743eb19ab585cd97d82f26514", SHA1: "68f40866ca310be49762f0b2552e656eae72a14f"}
	// firmware is the Raspberry Pi's second boot stage, which is not free software; Debian has it in non-free-firmware. It is
	// Debian 13's, of April 2024: boards are made that refuse what is older than they are.
	firmware = debian.Package{Name: "raspi-firmware", Version: "1.20240424+ds-6", Arch: "all",
		SHA256: "f95a3d3c41df10bac33580be91b595efa1e126ad5e4b7eca75ce26fbbc69af06", SHA1: "c25fa0d8d3a93d7332ab81cd7706aa5928a897b8"}
)

// date stands wherever a format wants one: that of the kernel's source package, so that it changes with that only.
var date = time.Date(2026, 11, 16, 10, 17, 0, 0, time.UTC)

// tools are the installed packages whose versions decide what is made.
var tools = []string{"gcc-12-aarch64-linux-gnu", "binutils-aarch64-linux-gnu", libgcc, libc, "make", "bc", "bison", "flex", "zstd", "e2fsprogs"}

// What is linked into touchmark-appliance of C, by package: the C library, and the compiler's own.
const (
	libc   = "libc6-dev-arm64-cross"
	libgcc = "libgcc-12-dev-arm64-cross"
)

// firmwareFiles are what boot.img has of the firmware, and under which names.
var firmwareFiles = []struct{ name, path string }{
	{board.StartFile, "/usr/lib/raspi-firmware/" + board.StartFile},
	{board.FixupFile, "/usr/lib/raspi-firmware/" + board.FixupFile},
	{"licence.txt", "/usr/share/doc/raspi-firmware/copyright"},
}
