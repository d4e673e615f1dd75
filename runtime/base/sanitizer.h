/* What isan tells ThreadSanitizer, where this process has it.
 *
 * ThreadSanitizer does not see isan's locks.  Without isan__tsan_release() and
 * isan__tsan_acquire() a block that one thread quarantines and another one frees would
 * be a race.
 *
 * Nor does it see isan's functions.  Each function that it instruments enters the return
 * address into its caller.  If isan calls that function, the address is in isan, and the
 * function that called isan is missing in the stacks of ThreadSanitizer's reports. */
#ifndef ISAN_BASE_SANITIZER_H
#define ISAN_BASE_SANITIZER_H

#include "runtime/base/compiler.h"

extern bool isan__tsan;                     /* the process has ThreadSanitizer */
void isan__tsan_init(void);
/* Call these without a lock of isan's: they are ThreadSanitizer's functions. */
void isan__tsan_release(void *block);       /* another thread frees the block later, */
void isan__tsan_acquire(void *block);       /* which this one does now */
void isan__tsan_enter(void *caller);        /* caller: the return address into the function that called isan */
void isan__tsan_leave(void);                /* before isan returns there */

#endif
