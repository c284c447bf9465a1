/* What system.c offers to system.go. */
unsigned long touchmark_pcsc_mark(void);
void touchmark_pcsc_release_since(unsigned long mark);
