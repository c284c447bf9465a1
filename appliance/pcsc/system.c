//go:build linux && pcscd

// piv-go leaks its context when opening a token fails after the connection was
// made, and pcscd then keeps the token locked for this process. So the linker
// is told to lead piv-go's calls of SCardEstablishContext and
// SCardReleaseContext through here (ld --wrap), which notes what is open.

#include <pthread.h>

#include <PCSC/winscard.h>

#include "system.h"

#define MAX_OPEN 64 /* more are not noted, and their leaks not swept */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static unsigned long last;
static struct {
	unsigned long number; /* 0: free */
	SCARDCONTEXT context;
} noted[MAX_OPEN];

LONG __real_SCardEstablishContext(DWORD, LPCVOID, LPCVOID, LPSCARDCONTEXT);
LONG __real_SCardReleaseContext(SCARDCONTEXT);

LONG __wrap_SCardEstablishContext(DWORD scope, LPCVOID r1, LPCVOID r2, LPSCARDCONTEXT out)
{
	LONG rc = __real_SCardEstablishContext(scope, r1, r2, out);
	if (rc != SCARD_S_SUCCESS)
		return rc;
	pthread_mutex_lock(&lock);
	last++;
	for (int i = 0; i < MAX_OPEN; i++) {
		if (noted[i].number == 0) {
			noted[i].number = last;
			noted[i].context = *out;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

LONG __wrap_SCardReleaseContext(SCARDCONTEXT context)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MAX_OPEN; i++)
		if (noted[i].number != 0 && noted[i].context == context)
			noted[i].number = 0;
	pthread_mutex_unlock(&lock);
	return __real_SCardReleaseContext(context);
}

unsigned long touchmark_pcsc_mark(void)
{
	pthread_mutex_lock(&lock);
	unsigned long mark = last;
	pthread_mutex_unlock(&lock);
	return mark;
}

void touchmark_pcsc_release_since(unsigned long mark)
{
	for (int i = 0; i < MAX_OPEN; i++) {
		pthread_mutex_lock(&lock);
		int leaked = noted[i].number > mark;
		SCARDCONTEXT context = noted[i].context;
		if (leaked)
			noted[i].number = 0;
		pthread_mutex_unlock(&lock);
		if (leaked)
			__real_SCardReleaseContext(context); /* its handles with it */
	}
}
