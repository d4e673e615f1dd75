/* isan_transfer() and isan_share() (include/isan/isan.h): make the current interpreter the owner of
 * an object, or let all interpreters use it. */
#include "isan/isan.h"
#include "runtime/core/attach.h"
#include "runtime/core/block.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/transfer.h"

static void
share_block(char *block, isan__slot_t unused)
{
    (void)unused;
    isan__note_block(block, ISAN__NOTE_SHARED, 0);
}

/* The block at `p`, which may have flags in its low bits, if it has that owner; else NULL. */
static char *
block_of_owner(const void *p, isan__slot_t owner)
{
    char *block = isan__block_of_checked((void *)((uintptr_t)p & ~(uintptr_t)7));
    uint32_t word = block ? isan__load_tag(block) : 0;
    return (isan__slot_t)word == owner && !(word & ISAN__FREED) ? block : NULL;
}

/* Visits the table of a dictionary, unless instances of a class share it, and its values. */
static void
visit_dict_memory(const char *op, isan__slot_t owner, void (*visit)(char *, isan__slot_t), isan__slot_t to)
{
    struct isan__keys keys;
    const void *const *at = (const void *const *)(op + ISAN__MA_KEYS);
    char *table = block_of_owner(at[0], owner), *values = block_of_owner(at[1], owner);
    if (table != NULL && isan__keys_at(&keys, at[0], true) && keys.users == 1 && !keys.split) {
        visit(table, to);
    }
    if (values != NULL && !isan__object_in(values)) {
        visit(values, to);
    }
}

/* Visits the block of the object, and the memory and the dictionary that belong to the object
 * alone, as far as its type shows them.  No other thread uses the object meanwhile. */
static void
visit_object_memory(const char *op, char *block, void (*visit)(char *, isan__slot_t), isan__slot_t to)
{
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    struct isan__type_object type;
    if (isan__object_in(block) == op && isan__read_type(&type, isan__object_type(op))) {
        char *part = NULL;
        const char *at = type.flags & ISAN__TYPE_LIST ? op + ISAN__LIST_ITEMS
            : type.flags & ISAN__TYPE_MANAGED_DICT ? op + ISAN__MANAGED_DICT
            : type.dictoffset > 0 ? op + type.dictoffset : NULL;
        if (type.flags & ISAN__TYPE_DICT) {
            visit_dict_memory(op, owner, visit, to);
        }
        if (at >= block && at + 8 <= block + isan__block_size(block)) {
            part = block_of_owner(*(void *const *)at, owner);
        }
        if (part != NULL && part != block) {
            const char *dict = isan__object_in(part);
            if (dict != NULL && isan__read_type(&type, isan__object_type(dict)) && type.flags & ISAN__TYPE_DICT) {
                visit_dict_memory(dict, owner, visit, to);
            }
            if (dict == NULL || type.flags & ISAN__TYPE_DICT) {
                visit(part, to);
            }
        }
    }
    visit(block, to);
}

int
(isan_transfer)(const void *object)
{
    isan__sync_thread_state(true);
    isan__slot_t to = isan__slot;
    char *block = isan__block_of_checked(object);
    if (to == 0 || block == NULL || isan__load_tag(block) & ISAN__FREED) {
        return -1;
    }
    isan__slot_t heap = isan__heap_of(block);
    if (!isan__shares_heap(heap, to) && isan__interp_of(heap)->ended) {
        return -1;
    }
    visit_object_memory(object, block, isan__transfer_block, to);
    return !isan__shares_heap(heap, to);
}

int
(isan_share)(const void *object)
{
    isan__sync_thread_state(true);
    char *block = isan__block_of_checked(object);
    if (block == NULL || isan__load_tag(block) & ISAN__FREED) {
        return -1;
    }
    visit_object_memory(object, block, share_block, 0);
    return 0;
}
