/* What isan tells ThreadSanitizer, where this process has it.
 *
 * ThreadSanitizer does not see isan's locks.  Without these two functions a block
 * that one thread quarantines and another one frees would be a race. */
#ifndef ISAN_BASE_SANITIZER_H
#define ISAN_BASE_SANITIZER_H

#include "runtime/base/compiler.h"

extern bool isan__tsan;                     /* the process has ThreadSanitizer */
void isan__tsan_init(void);
/* Call these without a lock of isan's: they are ThreadSanitizer's functions. */
void isan__tsan_release(void *block);       /* another thread frees the block later, */
void isan__tsan_acquire(void *block);       /* which this one does now */

#endif
