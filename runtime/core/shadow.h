/* Owner tags: the shadow memory that says which interpreter owns each block.
 *
 * There is one 32-bit word for each 16 bytes (a granule) of address space, at
 * ISAN__SHADOW + address / 4.  The reservation takes 32 TiB of address space.  Only
 * words that are written cost memory: a quarter of the bytes of the heap.
 *
 *   bits 0-15   slot of the owning interpreter (interp.h).  0: no block.
 *               NO_INTERP: the thread that allocated it was in no interpreter.
 *   bits 16-31  by position in the block:
 *
 *   granule 0   START  OBJECT LONG NOTED FREED RAW   | origin, low 10 bits
 *   granule 1   0      OBJECT                        | origin, high 14 bits
 *   granule 2   0      OBJECT                        | size in granules, 14 bits
 *   granule 3   (blocks of 16383 granules and more)    the whole word: size in granules
 *
 * A block has at least two granules (hooks/alloc.c asks for that much), and a third if
 * it is LONG.  All three have the tag because an object can begin at any of them: a
 * PyGC_Head is 16 bytes, the pre-header for the managed dict and weak references another
 * 16 (Objects/typeobject.c, _PyType_AllocNoTrack).  OBJECT marks the granule where the
 * object begins.
 *
 * Freeing a block clears its words.  So these do not exist: a word with a slot that is
 * not one of the first three of a block with START, and a slot that no block has.
 *
 * Only the thread that owns a block writes its words.  Other threads read them relaxed.
 */
#ifndef ISAN_CORE_SHADOW_H
#define ISAN_CORE_SHADOW_H

#include "isan/refcount.h"
#include "runtime/base/os.h"
#include "runtime/core/events.h"

enum {
    ISAN__START   = 1u << 31,
    ISAN__LONG    = 1u << 29,
    ISAN__NOTED   = 1u << 28,
    ISAN__FREED   = 1u << 27,               /* quarantined */
    ISAN__RAW     = 1u << 26,
};
#define ISAN__NO_INTERP 0xffffu
#define ISAN__GRANULE 16
#define ISAN__ORIGIN_BITS 24
#define ISAN__SIZE_BIG 0x3fffu
_Static_assert(ISAN__OBJECT == 1u << 30, "refcount.h and shadow.h disagree");

/* The shadow word at this offset, in bytes, from a code object has its first creation
 * site (origin.c).  It is past the words that the object's block uses. */
#define ISAN__CODE_SITE 64

void isan__shadow_init(void);               /* exits the process when there is no room */
/* Visits every block of `slot` (0: of all), in address order.  The visitor may free it.
 * With verify=1 the words of each block are checked as well.  False: the mappings of the process
 * cannot be read, and nothing was visited. */
bool isan__visit_blocks(isan__slot_t slot, void (*visit)(char *block, void *arg), void *arg);
/* The memory was unmapped: its tags are cleared, and their pages freed. */
void isan__shadow_release(const void *start, size_t size);
/* Nothing is allocated from the memory any more: frees the pages of its shadow without a tag.
 * True: there is no tag at all. */
bool isan__shadow_trim(const void *start, size_t size);

static inline uint32_t *
isan__tag_word(const void *p)
{
    return ISAN__TAG(p);
}

static inline uint32_t
isan__load_tag(const void *p)
{
    return *(const volatile uint32_t *)isan__tag_word(p);
}

/* Tags the block [p, p + size).  flags: OBJECT, NOTED, RAW of granule 0. */
static inline void
isan__tag_block(void *p, size_t size, isan__slot_t slot, uint32_t origin, uint32_t flags)
{
    uint32_t *w = isan__tag_word(p);
    uint64_t w0 = slot | (origin & 0x3ff) << 16 | ISAN__START | flags;
    uint64_t w1 = slot | (origin >> 10) << 16;
    if (size > 2 * ISAN__GRANULE) {         /* smaller blocks have two granules as well */
        size_t n = (size + ISAN__GRANULE - 1) / ISAN__GRANULE;
        w0 |= ISAN__LONG;
        w[2] = slot | (uint32_t)(n < ISAN__SIZE_BIG ? n : ISAN__SIZE_BIG) << 16;
        if (ISAN__UNLIKELY(n >= ISAN__SIZE_BIG)) {
            w[3] = (uint32_t)n;
        }
    }
    uint64_t both = w0 | w1 << 32;
    memcpy(w, &both, sizeof both);
}

/* Clears the tags of a block; w0 is the word of its granule 0. */
static inline void
isan__untag_block(void *p, uint32_t w0)
{
    uint32_t *w = isan__tag_word(p);
    if (w0 & ISAN__LONG) {
        if (ISAN__UNLIKELY(((w[2] >> 16) & ISAN__SIZE_BIG) == ISAN__SIZE_BIG)) {
            w[3] = 0;
        }
        w[2] = 0;
    }
    uint64_t zero = 0;
    memcpy(w, &zero, sizeof zero);
}

static inline size_t
isan__block_size(const void *block)
{
    const uint32_t *w = isan__tag_word(block);
    if (!(w[0] & ISAN__LONG)) {
        return 2 * ISAN__GRANULE;
    }
    uint32_t n = (w[2] >> 16) & ISAN__SIZE_BIG;
    return (size_t)(n == ISAN__SIZE_BIG ? w[3] : n) * ISAN__GRANULE;
}

static inline uint32_t
isan__block_origin(const void *block)
{
    const uint32_t *w = isan__tag_word(block);
    return ((w[0] >> 16) & 0x3ff) | ((w[1] >> 16) & 0x3fff) << 10;
}

static inline void
isan__set_origin(void *block, uint32_t origin)
{
    uint32_t *w = isan__tag_word(block);
    w[0] = (w[0] & ~(0x3ffu << 16)) | (origin & 0x3ff) << 16;
    w[1] = (w[1] & ~(0x3fffu << 16)) | (origin >> 10) << 16;
}

/* Could the word be a pointer to a block or to its object? */
static inline bool
isan__may_point_at_block(uint64_t word)
{
    return isan__is_user_address(word) && word % ISAN__GRANULE == 0;
}

/* The start of the block that has an object at op, or NULL. */
static inline char *
isan__block_of(const void *op)
{
    char *p = (char *)((uintptr_t)op & ~(uintptr_t)(ISAN__GRANULE - 1));
    for (int i = 0; i < 3; i++, p -= ISAN__GRANULE) {
        uint32_t tag = isan__load_tag(p);
        if (tag & ISAN__START) {
            return i < 2 || tag & ISAN__LONG ? p : NULL;    /* a block of two granules ends before op */
        }
    }
    return NULL;
}

#endif
