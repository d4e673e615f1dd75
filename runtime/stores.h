/* What a store is, for the rules and stores.c. */
#ifndef ISAN_STORES_H
#define ISAN_STORES_H

#include "runtime/internal.h"

struct isan__target {
    uint64_t address;
    uint32_t size;
    bool atomic;                            /* some instruction changes it atomically */
    bool constant;                          /* `value` is stored, which is in the code */
    uint32_t value;
};

#endif
