// Package image has no code but tests that `make image-test` runs (build tag imagetest):
// the board's image, as `make image` makes it for QEMU's machine "virt", starts there under
// TCG with a software TPM behind the kernel's own driver, the emulated token as a real USB
// device (usb-redir), a USB serial adapter to the real touchmark-hostd, and a stick.
//
// TOUCHMARK_IMAGE names the folder of a build. The tests change nothing in the image but
// two words of its command line, which have the operator speak lines and the kernel be quiet.
package image
