/* Native stacks (libunwind), and records of the modules that their addresses are in. */
#ifndef ISAN_CORE_STACK_H
#define ISAN_CORE_STACK_H

#include "runtime/base/compiler.h"

int isan__unwind(uint64_t *pcs, int max, void *ucontext);
void isan__log_modules(void);              /* record the modules that the log does not have */

#endif
