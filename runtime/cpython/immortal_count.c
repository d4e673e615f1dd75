/* The reference counts of immortal objects: see immortal_count.h. */
#include "runtime/cpython/immortal_count.h"

#include "runtime/cpython/layout.h"

/* Where 64 bits are a pointer, Include/object.h: _Py_IMMORTAL_REFCNT (3.12, 3.13);
 * Include/refcount.h: _Py_IMMORTAL_INITIAL_REFCNT, below 16 bits for an overflow
 * and 16 for flags (3.14).  0: nothing is immortal. */
static uint64_t initial;

void
isan__immortal_counts_init(void)
{
    initial = !isan__py.has_immortals ? 0 : isan__py.has_deferred_counts ? 3ull << 30 : UINT32_MAX;
}

/* The flags are not part of it. */
int64_t
isan__immortal_difference(const void *op)
{
    uint64_t count = *(const volatile uint64_t *)op;
    return (int64_t)((count - initial) << 16) >> 16;
}

/* Include/object.h, refcount.h. */
bool
isan__immortal_counted(int64_t difference, bool taken)
{
    uint32_t count = (uint32_t)initial + (uint32_t)difference;
    return taken ? count < initial : (int32_t)count >= 0;
}

/* Before 3.14 all 64 bits are counted.  The low half of a count of more than 32 bits may look
 * mortal.  The object is immortal again when the references that were not counted are dropped. */
bool
isan__is_mortal_now(const void *op)
{
    uint64_t count = *(const volatile uint64_t *)op;
    return (isan__py.has_deferred_counts ? (uint32_t)count : count) < 1ull << 31;
}
