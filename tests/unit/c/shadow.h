/* Owner tags in unit tests: the place of the tags beside AddressSanitizer.
 *
 * isan__shadow_init() reserves 32 TiB from ISAN__SHADOW (0x350000000000) on.  AddressSanitizer of
 * gcc 12 has its heap at 0x600000000000, above that.  That of clang 19 is in the middle of it: 4 TiB
 * and a little more at 0x500000000000 (compiler-rt, lib/asan/asan_allocator.h, kAllocatorSpace), so
 * that isan__shadow_init() fails.  The tags that would lie there are those of the addresses from
 * 0x6c0000000000 to 0x7c0004000000, where nothing is mapped: stacks, libraries and mappings are
 * above, heaps of AddressSanitizer and executables below.
 *
 * So a test that needs tags calls unit_reserve_tags(), which reserves the place around that heap.
 * Then all memory of the test has tags.
 */
#ifndef ISAN_UNIT_SHADOW_H
#define ISAN_UNIT_SHADOW_H

#include "isan/refcount.h"

#include "unit.h"

#define UNIT_ASAN_HEAP     ((uintptr_t)0x500000000000)
#define UNIT_ASAN_HEAP_END ((uintptr_t)0x540001000000)
#define UNIT_TAGS_END      ((uintptr_t)0x550000000000)
/* Memory of tests that is the same on each run. */
#define UNIT_ARENA ((uintptr_t)0x200000000000)

static bool
unit_map_at(uintptr_t start, uintptr_t end)
{
    void *p = mmap((void *)start, end - start, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    return p == (void *)start;
}

__attribute__((unused)) static void
unit_reserve_tags(void)
{
    EXPECT(unit_map_at(ISAN__SHADOW, UNIT_ASAN_HEAP));
    EXPECT(unit_map_at(UNIT_ASAN_HEAP_END, UNIT_TAGS_END));
    /* Either AddressSanitizer's heap is here, or nothing is. */
    (void)unit_map_at(UNIT_ASAN_HEAP, UNIT_ASAN_HEAP_END);
}

/* Zeroed memory at UNIT_ARENA. */
__attribute__((unused)) static char *
unit_map_arena(size_t size)
{
    EXPECT(unit_map_at(UNIT_ARENA, UNIT_ARENA + size));
    return (char *)UNIT_ARENA;
}

#endif
