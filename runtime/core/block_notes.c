/* Notes on blocks that need work when freed or moved: thread states, code objects,
 * interpreters, objects in findings, what the program has declared.  A note sets the
 * block's NOTED bit, which sends free() and realloc() down the slow path. */
#include "runtime/core/block_notes.h"

#include "runtime/base/check.h"
#include "runtime/base/table.h"
#include "runtime/core/block.h"
#include "runtime/core/thread.h"

/* Block -> notes << 32 | value.  Without memory for an entry the block has no note:
 * its findings are not paired with its leak, and a dead thread state is not known. */
static struct isan__table notes = ISAN__TABLE;

static unsigned
notes_in(uint64_t entry)
{
    return (unsigned)(entry >> 32);
}

static uint64_t
notes_entry(const char *block)
{
    return isan__load_tag(block) & ISAN__NOTED ? isan__table_get(&notes, (uint64_t)block) : 0;
}

void
isan__note_block(char *block, unsigned what, uint32_t value)
{
    uint64_t entry = isan__table_get(&notes, (uint64_t)block);
    if (notes_in(entry) & ISAN__NOTE_INTERP) {
        return;                             /* its value stays the slot, even if it is in findings, too */
    }
    uint64_t both = (uint64_t)(notes_in(entry) | what) << 32 | (value ? value : (uint32_t)entry);
    uint32_t tag = isan__load_tag(block);
    if (isan__table_put(&notes, (uint64_t)block, both)) {
        /* The owner may be freeing the block now: then it gets no bit. */
        while (tag & ISAN__START
               && !__atomic_compare_exchange_n(isan__tag_word(block), &tag, tag | ISAN__NOTED, true,
                                               __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
    }
}

uint32_t
isan__noted_serial(const char *block)
{
    uint64_t entry = notes_entry(block);
    return notes_in(entry) & ISAN__NOTE_OBJECT ? (uint32_t)entry : 0;
}

bool
isan__is_declared_shared(const char *block)
{
    return !(isan__load_tag(block) & ISAN__FREED) && notes_in(notes_entry(block)) & ISAN__NOTE_SHARED;
}

uint32_t
isan__noted_thread(const char *block)
{
    uint64_t entry = notes_entry(block);
    return (notes_in(entry) & (ISAN__NOTE_TSTATE | ISAN__NOTE_OBJECT)) == ISAN__NOTE_TSTATE ? (uint32_t)entry : 0;
}

isan__slot_t
isan__noted_block_freed(char *block)
{
    uint64_t entry = isan__table_take(&notes, (uint64_t)block);
    char *op = isan__object_in(block);
    if (notes_in(entry) & ISAN__NOTE_CODE && op != NULL) {
        *isan__tag_word(op + ISAN__CODE_SITE) = 0;
    }
    if (notes_in(entry) & ISAN__NOTE_TSTATE) {
        __atomic_add_fetch(&isan__epoch, 1, __ATOMIC_RELAXED);
    }
    isan__publish_noted_block_freed(&(struct isan__noted_block){ block, notes_in(entry), (uint32_t)entry });
    return notes_in(entry) & ISAN__NOTE_INTERP ? (isan__slot_t)entry : 0;
}

void
isan__noted_block_moved(char *from, char *to)
{
    uint64_t entry = isan__table_take(&notes, (uint64_t)from);
    if (entry != 0) {
        isan__publish_noted_block_moved(&(struct isan__moved_block){ from, to, notes_in(entry) });
        isan__note_block(to, notes_in(entry), (uint32_t)entry);
    }
}
