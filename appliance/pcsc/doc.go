// Package pcsc is PC/SC inside the process.
//
// piv-go talks to tokens through eight C functions (SCardEstablishContext …
// SCardTransmit) and the data symbol g_rgSCardT1Pci, normally those of
// libpcsclite, which forwards to the daemon pcscd. This package defines all of
// them itself and serves them from a [Backend] written in Go, so that the
// appliance runs no daemon, no libusb and needs no sockets in its kernel, and
// piv-go stays unmodified.
//
// # Building
//
// Every binary that links piv-go must import this package (importing
// appliance/piv does), and must be built with exactly these settings, which
// the Makefile exports for build, vet and test alike:
//
//	PKG_CONFIG_PATH=$PWD/appliance/pcsc/stub
//	CGO_CFLAGS="-O2 -g -DPCSC_INPROC"
//	go build -trimpath -tags "netgo osusergo" ./...
//
// and for a static binary, the form that is shipped,
//
//	-ldflags '-s -w -linkmode external -extldflags "-static"'
//
// PKG_CONFIG_PATH gives piv-go our headers and no library. The macro is there
// because Go's build cache does not notice that pkg-config's answer changed:
// it keeps our objects apart from those of builds with the system's
// libpcsclite. Three things catch a wrong build: without the macro or with the
// system's headers the package does not compile; a binary into which
// libpcsclite was linked all the same (a cache spoiled by an earlier build)
// refuses to start; and a test reads the ELF files.
//
// Build tags:
//
//	(none)    in-process, with the readers on USB ([USBBackend]) from the start
//	emulated  in-process, DialBackend connects to an emulated card; nothing else
//	          is looked for
//	pcscd     the system's pcscd, for desktops and for tests against the
//	          real daemon: no exports, no backends, links -lpcsclite; any
//	          libpcsclite.pc will do, but use another marker in CGO_CFLAGS
//	          (or ours throughout), for the cache's sake
//
// Link no PKCS#11 library or other PC/SC client into a dynamic in-process
// build: it would find our functions instead of its own.
//
// # Guarantees
//
//   - A handle belongs to one insertion of one card. When the card goes, every
//     call on the handle fails with [ErrRemovedCard]; a reset or power-off
//     that comes late can not reach a card inserted since.
//   - The last handle on a card powers it off, so a verified PIN does not
//     outlive it.
//   - No call waits for ever: see limits.go. A transaction held by another
//     handle is a sharing violation at once.
//   - Requests that carry a PIN are cleared in every buffer this package sees,
//     the caller's included.
//   - Return codes are positive, as pcsc-lite's are (0x8010xxxx in a long is
//     not sign-extended). A panic becomes SCARD_F_INTERNAL_ERROR.
package pcsc
