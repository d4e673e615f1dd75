/* What a program declares about blocks (include/isan/isan.h): that a block belongs to
 * another interpreter from now on, or that all interpreters may use it. */
#include "isan/isan.h"
#include "runtime/core/attach.h"
#include "runtime/core/block.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/transfer.h"

static void
share(char *block, isan__slot_t unused)
{
    (void)unused;
    isan__note_block(block, ISAN__NOTE_SHARED, 0);
}

/* A block that the object at `op` points at, of the same owner. */
static char *
own_block(const void *p, isan__slot_t owner)
{
    char *block = isan__block_of_checked((void *)((uintptr_t)p & ~(uintptr_t)7));
    uint32_t word = block ? isan__load_tag(block) : 0;
    return (isan__slot_t)word == owner && !(word & ISAN__FREED) ? block : NULL;
}

/* The table of a dictionary, unless instances of a class share it, and its values. */
static void
each_of_dict(const char *op, isan__slot_t owner, void (*visit)(char *, isan__slot_t), isan__slot_t to)
{
    struct isan__keys keys;
    const void *const *at = (const void *const *)(op + ISAN__MA_KEYS);
    char *table = own_block(at[0], owner), *values = own_block(at[1], owner);
    if (table != NULL && isan__keys_at(&keys, at[0], true) && keys.users == 1 && !keys.split) {
        visit(table, to);
    }
    if (values != NULL && !isan__object_in(values)) {
        visit(values, to);
    }
}

/* The block that has the object, and the memory and dictionary that only the
 * object uses, as far as its type says so.  Nothing else uses the object now. */
static void
each_of(const char *op, char *block, void (*visit)(char *, isan__slot_t), isan__slot_t to)
{
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    struct isan__type_object type;
    if (isan__object_in(block) == op && isan__read_type(&type, isan__object_type(op))) {
        char *part = NULL;
        const char *at = type.flags & ISAN__TYPE_LIST ? op + ISAN__LIST_ITEMS
            : type.flags & ISAN__TYPE_MANAGED_DICT ? op + ISAN__MANAGED_DICT
            : type.dictoffset > 0 ? op + type.dictoffset : NULL;
        if (type.flags & ISAN__TYPE_DICT) {
            each_of_dict(op, owner, visit, to);
        }
        if (at >= block && at + 8 <= block + isan__block_size(block)) {
            part = own_block(*(void *const *)at, owner);
        }
        if (part != NULL && part != block) {
            const char *dict = isan__object_in(part);
            if (dict != NULL && isan__read_type(&type, isan__object_type(dict)) && type.flags & ISAN__TYPE_DICT) {
                each_of_dict(dict, owner, visit, to);
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
    each_of(object, block, isan__transfer_block, to);
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
    each_of(object, block, share, 0);
    return 0;
}
