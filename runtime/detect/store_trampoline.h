/* Trampolines: code that checks a store before it makes it. */
#ifndef ISAN_DETECT_STORE_TRAMPOLINE_H
#define ISAN_DETECT_STORE_TRAMPOLINE_H

#include "runtime/detect/store_sites.h"

void isan__store_trampolines_init(void);
/* Replaces each site of the module by a jump to a trampoline.  Returns the module's gate;
 * NULL: its code cannot be changed, and is as it was. */
uint64_t *isan__store_trampolines_install(const struct isan__store_code *code);

#endif
