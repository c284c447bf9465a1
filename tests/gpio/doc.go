// Package gpio has no code but a test that `make arm64` runs (build tag
// arm64machine): the board's buttons and lamps on lines of a real chip. Debian's
// kernel for arm64 starts in QEMU on a machine with a PL061, whose lines the test
// moves from outside; package guest is all that runs there. No other kernel of
// Debian's has a chip that QEMU emulates.
package gpio
