/* Holds back what an ending interpreter frees. */
#ifndef ISAN_CORE_QUARANTINE_H
#define ISAN_CORE_QUARANTINE_H

#include "runtime/base/compiler.h"

bool isan__quarantine(char *block, int domain);         /* false: free it now */
uint32_t isan__quarantine_holds(uint32_t serial);       /* blocks of that interpreter */
/* Frees a block with the allocator under test (hooks/alloc.c). */
extern void (*isan__real_free)(int domain, void *p);

#endif
