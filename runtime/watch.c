/* Blocks with a story: their tag is WATCHED, so that freeing or moving them
 * takes the slow path, which asks here. */
#include "runtime/owner.h"

static struct isan__table watched;          /* block -> what << 32 | value */

void
isan__note_block(char *block, unsigned what, uint32_t value)
{
    uint64_t entry = isan__table_get(&watched, (uint64_t)block);
    if (entry >> 32 & ISAN__NOTE_INTERP) {
        return;                             /* its value is the slot, also when there are races on it */
    }
    uint64_t both = (entry >> 32 | what) << 32 | (value ? value : (uint32_t)entry);
    uint32_t word = isan__load_tag(block);
    if (isan__table_put(&watched, (uint64_t)block, both)) {
        /* Unless its owner frees it just now. */
        while (word & ISAN__START
               && !__atomic_compare_exchange_n(isan__tag_word(block), &word, word | ISAN__NOTED, true,
                                               __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
    }
}

uint32_t
isan__noted_serial(const char *block)
{
    if (!(isan__load_tag(block) & ISAN__NOTED)) {
        return 0;
    }
    uint64_t entry = isan__table_get(&watched, (uint64_t)block);
    return entry >> 32 & ISAN__NOTE_OBJECT ? (uint32_t)entry : 0;
}

bool
isan__is_declared_shared(const char *block)
{
    return (isan__load_tag(block) & (ISAN__NOTED | ISAN__FREED)) == ISAN__NOTED
        && isan__table_get(&watched, (uint64_t)block) >> 32 & ISAN__NOTE_SHARED;
}

uint32_t
isan__noted_thread(const char *block)
{
    if (!(isan__load_tag(block) & ISAN__NOTED)) {
        return 0;
    }
    uint64_t entry = isan__table_get(&watched, (uint64_t)block);
    return (entry >> 32 & (ISAN__NOTE_TSTATE | ISAN__NOTE_OBJECT)) == ISAN__NOTE_TSTATE ? (uint32_t)entry : 0;
}

/* The block is about to be freed and still has its tags.  Returns the slot of
 * the interpreter that it was the state of, or 0. */
isan__slot_t
isan__noted_block_freed(char *block)
{
    uint64_t entry = isan__table_take(&watched, (uint64_t)block);
    char *op = isan__object_in(block);
    if (entry >> 32 & ISAN__NOTE_CODE && op != NULL) {
        *isan__tag_word(op + ISAN__CODE_SITE) = 0;
    }
    if (entry >> 32 & ISAN__NOTE_TSTATE) {
        __atomic_add_fetch(&isan__epoch, 1, __ATOMIC_RELAXED);
        isan__gilstate_freed(block, entry >> 32 & ISAN__NOTE_OBJECT ? 0 : (uint32_t)entry);
    }
    if (entry >> 32 & ISAN__NOTE_TRANSFERRED) {
        isan__transferred_gone(block);
    }
    if (entry >> 32 & ISAN__NOTE_INTERP) {
        isan__gilstate_interp_freed(block, (isan__slot_t)entry);
    }
    return entry >> 32 & ISAN__NOTE_INTERP ? (isan__slot_t)entry : 0;
}

/* The block has been moved (realloc); the new one has its tags. */
void
isan__noted_block_moved(char *from, char *to)
{
    uint64_t entry = isan__table_take(&watched, (uint64_t)from);
    if (entry >> 32 & ISAN__NOTE_TRANSFERRED) {
        isan__transferred_moved(from, to);
    }
    if (entry != 0) {
        isan__note_block(to, (unsigned)(entry >> 32), (uint32_t)entry);
    }
}
