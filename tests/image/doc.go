// Package image has no code but tests that `make image-test` runs (build tag imagetest):
// the board's image, as `make image` makes it for QEMU's machine "virt", starts there under
// TCG with a software TPM behind the kernel's own driver, the emulated token as a real USB
// device (usb-redir), a USB serial adapter to the real touchmark-hostd, and a stick.
//
// The image of a Raspberry Pi 4 starts in the Raspberry Pi 3 that QEMU has, as far as that goes.
//
// TOUCHMARK_IMAGE names the folder of a build, TOUCHMARK_IMAGE_BOARD that of a Raspberry Pi's, TOUCHMARK_IMAGE_NEXT that of the
// version to come. The tests change nothing in the image but
// two words of its command line, which have the operator speak lines and the kernel be quiet.
package image
