/* Findings about immortal objects: see immortal_finding.h. */
#include "runtime/detect/immortal_finding.h"

#include "runtime/base/table.h"
#include "runtime/core/finding.h"

uint32_t
isan__report_immortal(const void *op, uint32_t owner, const char *name, uint32_t stack)
{
    /* Each call makes a new finding: immortal.c and immortal_watch.c know what they reported. */
    static uint64_t n;
    uint64_t number = __atomic_add_fetch(&n, 1, __ATOMIC_RELAXED);
    const struct isan_rec_finding *r = isan__finding_make(&(struct isan__finding){
        .kind = ISAN__KIND_immortal, .key = isan__table_key(ISAN__KEY_IMMORTAL, &number, sizeof number),
        .type = name, .current = isan__interp_of(isan__slot)->serial, .stack = stack,
        .object = { .address = (uint64_t)op, .owner = owner, .flags = ISAN_OBJ_OBJECT },
    });
    return r ? r->id : 0;
}
