//go:build linux && !pcscd

// The data symbols piv-go links against, and the checks that this is the build
// the package comment describes.

#ifndef PCSC_INPROC
#error "touchmark: build with CGO_CFLAGS='-O2 -g -DPCSC_INPROC' (run make, or see appliance/pcsc/doc.go); or with -tags pcscd"
#endif

#define _GNU_SOURCE
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <PCSC/winscard.h>

#ifndef TOUCHMARK_PCSC_STUB
#error "touchmark: these are the system's PC/SC headers; set PKG_CONFIG_PATH=$PWD/appliance/pcsc/stub (run make, or see appliance/pcsc/doc.go)"
#endif

const SCARD_IO_REQUEST g_rgSCardT0Pci = {1, sizeof(SCARD_IO_REQUEST)};
const SCARD_IO_REQUEST g_rgSCardT1Pci = {2, sizeof(SCARD_IO_REQUEST)};
const SCARD_IO_REQUEST g_rgSCardRawPci = {4, sizeof(SCARD_IO_REQUEST)};

static int is_pcsclite(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size;
	(void)data;
	return info->dlpi_name && strstr(info->dlpi_name, "libpcsclite") != NULL;
}

// Runs before main: a binary that also links libpcsclite was built from a
// spoiled cache, and must not be trusted to use our functions.
__attribute__((constructor)) static void touchmark_pcsc_check(void)
{
	static const char msg[] =
		"touchmark: this binary links libpcsclite beside its own PC/SC: "
		"rebuild it with make after `go clean -cache`\n";
	if (dl_iterate_phdr(is_pcsclite, NULL)) {
		ssize_t n = write(STDERR_FILENO, msg, sizeof msg - 1);
		(void)n;
		_exit(70);
	}
}
