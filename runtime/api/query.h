/* Functions of isan.h that a program calls to ask isan: findings, owners, a scan now. */
#ifndef ISAN_API_QUERY_H
#define ISAN_API_QUERY_H

#include "runtime/base/compiler.h"

void isan__query_init(void);                /* installs the handler of the signal option */
/* Makes the scan that the signal has requested, unless this thread is in the allocator or
 * holds a lock. */
void isan__scan_if_requested(void);

#endif
