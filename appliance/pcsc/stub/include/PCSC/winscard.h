/* The part of PC/SC that piv-go uses: eight functions, three data symbols.
 * The functions are defined in export.go, the symbols in pci.c; with the build
 * tag pcscd both come from the system's libpcsclite. */
#ifndef TOUCHMARK_PCSC_WINSCARD_H
#define TOUCHMARK_PCSC_WINSCARD_H

#include <PCSC/wintypes.h>

/* Proof for pci.c that the compiler sees this header, not the system's. */
#define TOUCHMARK_PCSC_STUB 1

typedef LONG SCARDCONTEXT, *LPSCARDCONTEXT;
typedef LONG SCARDHANDLE, *LPSCARDHANDLE;

typedef struct {
	unsigned long dwProtocol;
	unsigned long cbPciLength;
} SCARD_IO_REQUEST, *LPSCARD_IO_REQUEST;
typedef const SCARD_IO_REQUEST *LPCSCARD_IO_REQUEST;

extern const SCARD_IO_REQUEST g_rgSCardT0Pci, g_rgSCardT1Pci, g_rgSCardRawPci;
#define SCARD_PCI_T1 (&g_rgSCardT1Pci)

#define SCARD_S_SUCCESS ((LONG)0)
#define SCARD_SCOPE_SYSTEM 2
#define SCARD_PROTOCOL_T1 2
#define SCARD_SHARE_EXCLUSIVE 1
#define SCARD_SHARE_SHARED 2
#define SCARD_LEAVE_CARD 0
#define SCARD_RESET_CARD 1
#define SCARD_UNPOWER_CARD 2

/* Header, extended Lc, 64 KiB of data, extended Le, SW: as in pcsc-lite. */
#define MAX_BUFFER_SIZE_EXTENDED (4 + 3 + (1 << 16) + 3 + 2)

LONG SCardEstablishContext(DWORD, LPCVOID, LPCVOID, LPSCARDCONTEXT);
LONG SCardReleaseContext(SCARDCONTEXT);
LONG SCardListReaders(SCARDCONTEXT, LPCSTR, LPSTR, LPDWORD);
LONG SCardConnect(SCARDCONTEXT, LPCSTR, DWORD, DWORD, LPSCARDHANDLE, LPDWORD);
LONG SCardDisconnect(SCARDHANDLE, DWORD);
LONG SCardBeginTransaction(SCARDHANDLE);
LONG SCardEndTransaction(SCARDHANDLE, DWORD);
LONG SCardTransmit(SCARDHANDLE, const SCARD_IO_REQUEST *, LPCBYTE, DWORD,
		   SCARD_IO_REQUEST *, LPBYTE, LPDWORD);

#endif
