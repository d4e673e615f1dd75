/* Stores into statics by several interpreters (statics=watch). */
#ifndef ISAN_DETECT_RACE_STORES_H
#define ISAN_DETECT_RACE_STORES_H

#include "runtime/core/events.h"

/* The memory that a store writes, for the rules. */
struct isan__target {
    uint64_t address;
    uint32_t size;
    bool atomic;                            /* some instruction changes it atomically */
    bool constant;                          /* `value`, which is in the code, is stored */
    uint32_t value;
};

void isan__race_stores_init(void);               /* exits the process if it cannot be */
void isan__race_stores_module_loaded(uintptr_t base);   /* this module, and those it needs, new or not */
void isan__race_stores_forked(int unused);       /* subscriber of forked */
/* Subscribers of module_imported and interp_ends: other interpreters may share a module now. */
void isan__race_stores_module_imported(const struct isan__import *import);
void isan__race_stores_interp_ended(struct isan__interp_end *end);
void isan__race_stores_update(void);                /* other interpreters have imported what there is */

#endif
