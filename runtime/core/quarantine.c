/* Quarantine: holds back the blocks that an ending interpreter frees.  They keep their
 * owner and are tagged FREED.  So isan recognises a use through a pointer that was not cleared.
 *
 * There are two first-in-first-out rings, each within half the budget of the option
 * `quarantine`.  Only an interpreter that shares the main interpreter's obmalloc can free a
 * block of it, so blocks of that obmalloc have a ring of their own.  A small block of another
 * interpreter's own obmalloc cannot be freed from here.  It is forgotten, and its arena is freed
 * as a whole when that interpreter has ended (hooks/arena.c).  A block of an obmalloc from before
 * Python was initialised again is forgotten, too.
 */
#include "runtime/core/quarantine.h"

#include "runtime/base/options.h"
#include "runtime/base/sanitizer.h"
#include "runtime/base/table.h"
#include "runtime/core/block.h"
#include "runtime/core/block_notes.h"

enum { FIRST_SIZE = 1 << 12, SMALL = 512 };         /* SMALL_REQUEST_THRESHOLD */

struct entry {
    uint64_t block : 48, domain : 16;
    uint32_t serial;                        /* of the interpreter */
};
static struct ring {
    struct entry *entries;
    size_t size, first, n;                  /* room for, oldest, how many */
    uint64_t bytes;
} rings[2];                                 /* 1: of interpreters that share main's obmalloc */
/* Interpreter's serial -> its blocks here.  A lost count keeps the arenas of an ended
 * interpreter. */
static struct isan__table held = ISAN__TABLE;
static struct isan__lock lock = { .rank = ISAN__RANK_QUARANTINE };
void (*isan__real_free)(int domain, void *p);

static bool
grow_ring(struct ring *r)
{
    size_t bigger = r->size ? 2 * r->size : FIRST_SIZE;
    struct entry *to = isan__map(bigger * sizeof *to);
    if (to == NULL) {
        return false;
    }
    for (size_t i = 0; i < r->n; i++) {
        to[i] = r->entries[(r->first + i) % r->size];
    }
    isan__unmap(r->entries, r->size * sizeof *to);
    r->entries = to;
    r->size = bigger;
    r->first = 0;
    return true;
}

static void
free_entry(struct entry e)
{
    char *block = (char *)(uintptr_t)e.block;
    uint32_t word = isan__load_tag(block);
    isan__slot_t owner = (isan__slot_t)word;
    size_t block_size = isan__block_size(block);
    bool before = e.serial < isan__interp_of(isan__main_slot)->serial && isan__py.new_obmalloc;
    bool ours = !before && (owner == isan__slot || isan__share_obmalloc(owner, isan__slot));
    const struct isan__interp *i = isan__interp_of(owner);
    bool ended = i->ended || i->serial != e.serial;
    if (word & ISAN__NOTED) {
        isan__noted_block_freed(block);
    }
    isan__untag_block(block, word);
    if (ours || block_size > SMALL) {       /* large blocks come from malloc */
        isan__tsan_acquire(block);
        isan__real_free(e.domain, block);
    }
    isan__lock(&lock);
    uint64_t left = isan__table_take(&held, e.serial) - 1;
    if (left != 0) {
        isan__table_put_or_drop(&held, e.serial, left);
    }
    isan__unlock(&lock);
    /* The later one of this and isan__interp_end() sees that the interpreter has ended and that
     * none of its blocks is held.  Its slot may have a new interpreter. */
    if (left == 0 && (i->serial != e.serial || __atomic_load_n(&i->ended, __ATOMIC_SEQ_CST))) {
        isan__publish_interp_unused(e.serial);
    }
    if (ended) {
        isan__interp_block_freed(owner);
    }
}

/* Called by the thread that frees the block, in the interpreter that owns it. */
bool
isan__quarantine(char *block, int domain)
{
    const struct isan__interp *owner = isan__interp_of((isan__slot_t)isan__load_tag(block));
    struct ring *r = &rings[owner->shares_main];
    uint64_t budget = (uint64_t)isan__options.quarantine << 19;
    uint64_t block_size = isan__block_size(block);
    if (block_size > budget) {
        return false;
    }
    isan__tsan_release(block);
    isan__lock(&lock);
    if (r->n == r->size && !grow_ring(r)) {
        isan__unlock(&lock);
        return false;
    }
    __atomic_or_fetch(isan__tag_word(block), ISAN__FREED, __ATOMIC_RELAXED);
    uint32_t serial = owner->serial;
    r->bytes += block_size;
    r->entries[(r->first + r->n++) % r->size] = (struct entry){
        .block = (uint64_t)block & 0xffffffffffff, .domain = (uint16_t)domain, .serial = serial,
    };
    isan__table_put_or_drop(&held, serial, isan__table_get(&held, serial) + 1);
    /* Without the lock: this runs the allocator under test. */
    while (r->bytes > budget) {
        struct entry e = r->entries[r->first];
        r->first = (r->first + 1) % r->size;
        r->n--;
        r->bytes -= isan__block_size((char *)(uintptr_t)e.block);
        isan__unlock(&lock);
        free_entry(e);
        isan__lock(&lock);
    }
    isan__unlock(&lock);
    return true;
}

uint32_t
isan__quarantine_holds(uint32_t serial)
{
    isan__lock(&lock);
    uint32_t n_held = (uint32_t)isan__table_get(&held, serial);
    isan__unlock(&lock);
    return n_held;
}
