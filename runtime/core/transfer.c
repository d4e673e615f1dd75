/* Blocks that the program has transferred to another interpreter.
 *
 * A transfer changes the owner of a block, not its allocator.  An interpreter with an allocator
 * of its own must free the block itself.  This file knows the allocator of each transferred block.
 * The transfer is over when that interpreter ends, or when another one frees the block.  Then the
 * block belongs to its allocator's interpreter again.
 */
#include "runtime/core/transfer.h"

#include "runtime/base/table.h"
#include "runtime/core/block.h"
#include "runtime/core/block_notes.h"

#define ENTRY (1ull << 63)                  /* no value is 0 */

/* Block -> ENTRY | slot of its allocator (0: the process) << 32 | serial of its creator.
 * An entry that cannot be stored makes the transfer fail; none is dropped. */
static struct isan__table transferred = ISAN__TABLE;

static isan__slot_t
heap_in(uint64_t entry)
{
    return (isan__slot_t)(entry >> 32);
}

static uint64_t
transfer_entry(const char *block)
{
    return isan__load_tag(block) & ISAN__NOTED ? isan__table_get(&transferred, (uint64_t)block) : 0;
}

uint32_t
isan__creator_of(const char *block)
{
    return (uint32_t)transfer_entry(block);
}

bool
isan__shares_heap(isan__slot_t heap, isan__slot_t slot)
{
    return heap == 0 || heap == slot || isan__share_obmalloc(heap, slot);
}

isan__slot_t
isan__heap_of(const char *block)
{
    uint64_t entry = transfer_entry(block);
    uint32_t tag = isan__load_tag(block);
    return entry ? heap_in(entry) : tag & ISAN__RAW ? 0 : (isan__slot_t)tag;
}

void
isan__transfer_block(char *block, isan__slot_t to)
{
    uint32_t tag = isan__load_tag(block);
    isan__slot_t from = (isan__slot_t)tag;
    if (from == to || tag & ISAN__FREED) {
        return;
    }
    uint64_t entry = transfer_entry(block);
    if (entry == 0) {
        entry = ENTRY | (uint64_t)isan__heap_of(block) << 32 | isan__interp_of(from)->serial;
        if (!isan__table_put(&transferred, (uint64_t)block, entry)) {
            return;
        }
        isan__note_block(block, ISAN__NOTE_TRANSFERRED, 0);
    }
    else if (isan__interp_of(to)->serial == (uint32_t)entry) {
        isan__table_take(&transferred, (uint64_t)block);    /* back where it came from */
    }
    isan__retag(block, to);
}

isan__slot_t
isan__transfer_end(char *block, isan__slot_t by)
{
    uint64_t entry = transfer_entry(block);
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    if (entry == 0 || owner != by || isan__shares_heap(heap_in(entry), by)) {
        return owner;
    }
    isan__table_take(&transferred, (uint64_t)block);
    isan__retag(block, heap_in(entry));
    return heap_in(entry);
}

static bool
is_of_ended(uint64_t key, uint64_t entry, void *arg)
{
    isan__slot_t slot = *(isan__slot_t *)arg;
    (void)key;
    return heap_in(entry) == slot && !isan__interp_of(slot)->shares_main;
}

void
isan__transfers_end_of(isan__slot_t slot)
{
    char *block;
    while ((block = (char *)isan__table_find(&transferred, is_of_ended, &slot)) != NULL) {
        isan__table_take(&transferred, (uint64_t)block);
        isan__retag(block, slot);
    }
}

void
isan__transfer_block_freed(const struct isan__noted_block *noted)
{
    if (noted->notes & ISAN__NOTE_TRANSFERRED) {
        isan__table_take(&transferred, (uint64_t)noted->block);
    }
}

void
isan__transfer_block_moved(const struct isan__moved_block *moved)
{
    uint64_t entry = moved->notes & ISAN__NOTE_TRANSFERRED
        ? isan__table_take(&transferred, (uint64_t)moved->from) : 0;
    if (entry != 0) {
        isan__table_put_or_drop(&transferred, (uint64_t)moved->to, entry);  /* there is room: it took one out just now */
    }
}
