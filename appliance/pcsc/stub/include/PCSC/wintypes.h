/* The types of the PC/SC interface as pcsc-lite has them on Linux (LP64 and
 * ILP32): a DWORD is an unsigned long, not 32 bits. Binary compatible with
 * libpcsclite, so that the build tag pcscd can link it behind this header. */
#ifndef TOUCHMARK_PCSC_WINTYPES_H
#define TOUCHMARK_PCSC_WINTYPES_H

typedef unsigned char BYTE;
typedef unsigned long DWORD;
typedef long LONG;
typedef const void *LPCVOID;
typedef const char *LPCSTR;
typedef char *LPSTR;
typedef const BYTE *LPCBYTE;
typedef BYTE *LPBYTE;
typedef DWORD *LPDWORD;

#endif
