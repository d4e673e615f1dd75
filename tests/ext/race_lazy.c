/* Bug: the first one to need the table makes it, and several may be the first. */
#include <stdlib.h>

static char *table;

static __attribute__((noinline)) long
once(void *module)
{
    (void)module;
    if (table == NULL) {
        table = calloc(100, 1);
    }
    return table != NULL;
}

#define NAME race_lazy
#include "race.h"
