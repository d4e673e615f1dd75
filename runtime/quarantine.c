/* Quarantine: what an ending interpreter frees is held back, tagged FREED and
 * still its own, so that a pointer somebody forgot to clear is recognised
 * instead of hitting memory that has found a new use.
 *
 * A first-in-first-out ring within the budget of the option `quarantine`.
 * What cannot be given back any more - a small block of an own-GIL interpreter
 * that has ended, whose obmalloc is gone (Objects/obmalloc.c,
 * free_obmalloc_arenas keeps the arenas) - is only forgotten.
 */
#include "runtime/owner.h"

enum { FIRST_SIZE = 1 << 12, SMALL = 512 };         /* SMALL_REQUEST_THRESHOLD */

static struct entry {
    uint64_t block : 48, domain : 16;
} *ring;
static size_t size, first, n;               /* entries: room for, oldest, how many */
static uint64_t bytes;
static isan__lock_t lock;

static bool
grow(void)
{
    size_t bigger = size ? 2 * size : FIRST_SIZE;
    struct entry *to = isan__map(bigger * sizeof *to);
    if (to == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        to[i] = ring[(first + i) % size];
    }
    isan__unmap(ring, size * sizeof *ring);
    ring = to;
    size = bigger;
    first = 0;
    return true;
}

static void
give_back(struct entry e)
{
    char *block = (char *)(uintptr_t)e.block;
    uint32_t word = isan__load(block);
    isan__slot_t owner = (isan__slot_t)word;
    size_t block_size = isan__block_size(block);
    bool ours = owner == isan__slot || isan__share_obmalloc(owner, isan__slot);
    bool ended = isan__interp_of(owner)->ended;
    if (word & ISAN__WATCHED) {
        isan__watched_block_gone(block);
    }
    isan__untag(block, word);
    if (ours || (ended && block_size > SMALL)) {
        isan__real_free(e.domain, block);
    }
    isan__interp_unquarantined(owner);
    if (ended) {
        isan__interp_block_gone(owner);
    }
}

/* Called by the thread that frees the block, in the interpreter that owns it. */
bool
isan__quarantine(char *block, int domain)
{
    uint64_t budget = (uint64_t)isan__flags.quarantine << 20;
    uint64_t block_size = isan__block_size(block);
    if (block_size > budget) {
        return false;
    }
    isan__lock(&lock);
    if (n == size && !grow()) {
        isan__unlock(&lock);
        return false;
    }
    __atomic_or_fetch(isan__word(block), ISAN__FREED, __ATOMIC_RELAXED);
    __atomic_add_fetch(&isan__interp_of((isan__slot_t)isan__load(block))->quarantined, 1,
                       __ATOMIC_RELAXED);
    bytes += block_size;
    ring[(first + n++) % size] =
        (struct entry){ .block = (uint64_t)block & 0xffffffffffff, .domain = (uint16_t)domain };
    /* Give back without the lock: that runs the allocator under test. */
    while (bytes > budget) {
        struct entry e = ring[first];
        first = (first + 1) % size;
        n--;
        bytes -= isan__block_size((char *)(uintptr_t)e.block);
        isan__unlock(&lock);
        give_back(e);
        isan__lock(&lock);
    }
    isan__unlock(&lock);
    return true;
}

void
isan__quarantine_forked(void)
{
    lock.word = 0;
}
