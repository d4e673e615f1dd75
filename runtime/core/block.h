/* Blocks and the objects in them: tags and content together. */
#ifndef ISAN_CORE_BLOCK_H
#define ISAN_CORE_BLOCK_H

#include "runtime/core/interp.h"
#include "runtime/core/shadow.h"
#include "runtime/cpython/object.h"

/* The block of a pointer from the program, which may be any number; NULL: there is none. */
static inline char *
isan__block_of_checked(const void *p)
{
    return isan__main_slot != 0 && isan__is_user_address((uintptr_t)p) ? isan__block_of(p) : NULL;
}

/* May a block or an object begin at the granule with this shadow word?  An object without a mark
 * begins at one of the granules that have a tag. */
static inline bool
isan__may_start_object(uint32_t word)
{
    return isan__stock || (word & (ISAN__START | ISAN__OBJECT)) != 0;
}

/* Where the object of a block begins, or NULL: none is marked. */
static inline char *
isan__marked_object_in(char *block)
{
    const uint32_t *w = isan__tag_word(block);
    int n = w[0] & ISAN__LONG ? 3 : 2;
    for (int i = 0; i < n; i++) {
        if (w[i] & ISAN__OBJECT) {
            return block + i * ISAN__GRANULE;
        }
    }
    return NULL;
}

/* The object of a block; NULL: the block is raw memory.  The objects of a stock Python have no
 * marks before 3.13, with origin=none, or while another tracer is installed (hooks/reftrace.c).
 * Then this recognises them by their content.  `dead`: the count may be 0. */
char *isan__recognise_object(char *block, bool dead);
static inline char *
isan__find_object_in(char *block, bool dead)
{
    char *op = isan__marked_object_in(block);
    return op != NULL || !isan__stock || isan__interp_of((isan__slot_t)isan__load_tag(block))->marked
        ? op : isan__recognise_object(block, dead);
}

static inline char *
isan__object_in(char *block)
{
    return isan__find_object_in(block, false);
}

/* All that is known of an object, or of a block of raw memory, read once. */
struct isan__object_view {
    char *block;
    const void *start;                      /* the object, or the block */
    uint32_t tag;                           /* of the block's first granule */
    isan__slot_t owner;
    bool object, freed;                     /* it is an object, not raw memory; it is quarantined */
    struct isan__object_head head;          /* of an object */
    size_t size;                            /* of the block, bytes */
    uint32_t origin;
};
/* stable: the object is readable, as this thread is about to use it. */
void isan__view_object(struct isan__object_view *view, const void *op, char *block, bool stable);

/* May CPython have reused the memory of an earlier object for it, unseen by isan? */
bool isan__may_be_recycled(const struct isan__object_head *head);
/* Is it a method or attribute that PyType_Ready made of the C tables of a static type? */
bool isan__is_of_static_type(const struct isan__object_head *head, const void *op);

void isan__block_init(void);                /* lets isan__peek() read blocks that are stable */

#endif
