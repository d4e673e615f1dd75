/* The reference counts of immortal objects: see immortal_count.h. */
#include "runtime/cpython/immortal_count.h"

#include "runtime/cpython/layout.h"

/* Where 64 bits are a pointer, Include/object.h: _Py_IMMORTAL_REFCNT (3.12, 3.13);
 * Include/refcount.h: _Py_IMMORTAL_INITIAL_REFCNT, below 16 bits for an overflow
 * and 16 for flags (3.14).  0: nothing is immortal (before 3.12). */
static uint64_t initial;
static bool new_counts;

void
isan__immortal_counts_init(void)
{
    unsigned minor = isan__py.hexversion >> 16 & 0xff;
    new_counts = minor >= 14;
    initial = minor < 12 ? 0 : minor < 14 ? UINT32_MAX : 3ull << 30;
}

bool
isan__has_immortals(void)
{
    return initial != 0;
}

bool
isan__immortal_counts_are_new(void)
{
    return new_counts;
}

/* By how much the count differs; the flags are not part of it. */
int64_t
isan__immortal_difference(const void *op)
{
    uint64_t count = *(const volatile uint64_t *)op;
    return (int64_t)((count - initial) << 16) >> 16;
}


/* Py_INCREF and Py_DECREF of each release (Include/object.h, refcount.h). */
bool
isan__immortal_counted(int64_t off, bool taken)
{
    uint32_t count = (uint32_t)initial + (uint32_t)off;
    return taken ? count < initial : (int32_t)count >= 0;
}

/* Could it be given up by now?  Before 3.14 all 64 bits are counted with, so that
 * one with more than 32 is only taken for mortal, and becomes what it was when
 * references are given back that were not counted. */
bool
isan__is_mortal_now(const void *op)
{
    uint64_t count = *(const volatile uint64_t *)op;
    return (new_counts ? (uint32_t)count : count) < 1ull << 31;
}
