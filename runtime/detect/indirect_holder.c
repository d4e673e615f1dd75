/* Who holds it, when no static does: one that leads to it through memory.
 *
 * A hash table, a list of callbacks or a container of C++'s has what it holds in
 * memory of malloc's, which is nobody's, or of PyMem_*.  That is looked through from
 * the statics on, breadth first, to name the variable in a finding that there is: it
 * is no finding of its own, as a library may keep there what each interpreter has
 * given it.  Not looked through are objects, as what they refer to is theirs, and what
 * the runtime's own statics lead to, as its interpreters lead to everything; nor what
 * those of libraries that do not use Python do, whose memory is full of old pointers.
 *
 * malloc's memory has no tags.  That of the GNU C library is recognised by the sizes
 * it writes before it and behind it (malloc/malloc.c, struct malloc_chunk); memory of
 * another malloc is not.
 */
#define _GNU_SOURCE
#include "runtime/detect/indirect_holder.h"

#include <link.h>

#include "runtime/core/block.h"
#include "runtime/core/log.h"

enum {
    MAX_MEMORY = 1 << 16, MAX_BYTES = 16 << 20, MAX_SIZE = 1 << 20, MAX_MODULES = 1 << 12, PIECE = 512,
    MMAPPED = 2, FLAGS = 7, MIN_CHUNK = 32,
    SEARCH = 1 << 12, MAX_WORK = 1 << 18, WORK_TRAPS = 1 << 19, WORK_LEAKS = 1 << 21,
};

/* What is left of the work that all searches of the process may make, in reads of
 * memory, of less than a microsecond each, as which a search itself counts, too: half
 * a second for traps, some seconds for the ends of interpreters. */
static int work_left[2] = { WORK_TRAPS, WORK_LEAKS };

struct memory {
    uint64_t start;
    uint32_t size, at;
    uint32_t from;                          /* + 1: the word at `at` of that one leads here; 0: */
    bool tagged;
    struct isan_holder holder;              /* this one does */
};

struct module {
    uint64_t start, end;
};

struct search {
    struct memory *queue;
    size_t n, bytes;
    int work;                               /* reads that are left */
    struct module *modules;
    size_t n_modules;
    struct isan__table seen;
};

static int
note_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct search *s = arg;
    struct module m = { UINT64_MAX, 0 };
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        uint64_t start = info->dlpi_addr + ph->p_vaddr;
        if (ph->p_type == PT_LOAD) {
            m.start = start < m.start ? start : m.start;
            m.end = start + ph->p_memsz > m.end ? start + ph->p_memsz : m.end;
        }
    }
    if (m.end == 0 || s->n_modules == MAX_MODULES) {
        return 0;
    }
    size_t at = s->n_modules++;
    for (; at > 0 && s->modules[at - 1].start > m.start; at--) {
        s->modules[at] = s->modules[at - 1];
    }
    s->modules[at] = m;
    return 0;
}

static bool
in_module(const struct search *s, uint64_t address)
{
    size_t low = 0, high = s->n_modules;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->modules[middle].end <= address) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low < s->n_modules && s->modules[low].start <= address;
}

/* The size of malloc's memory that begins there; 0: none does. */
static size_t
malloced(struct search *s, uint64_t start)
{
    uint64_t before[2], after;
    s->work -= 2;
    if (!isan__peek(before, (const void *)(start - sizeof before), sizeof before)) {
        return 0;
    }
    uint64_t size = before[1] & ~(uint64_t)FLAGS;
    if (size % ISAN__GRANULE != 0 || size < MIN_CHUNK || size > MAX_SIZE) {
        return 0;
    }
    if (before[1] & MMAPPED) {
        return (start - sizeof before + before[0]) % 4096 == 0 && (size + before[0]) % 4096 == 0
            ? size - sizeof before : 0;
    }
    return isan__peek(&after, (const void *)(start + size - 8), sizeof after)
        && after & 1 && !(after & 8) && after >= MIN_CHUNK && after >> 40 == 0 ? size - 8 : 0;
}

static void
reach(struct search *s, uint64_t value, uint32_t from, uint32_t at, const struct isan_holder *holder)
{
    if (s->n == MAX_MEMORY || s->bytes >= MAX_BYTES || s->work <= 0 || isan__table_get(&s->seen, value) != 0) {
        return;
    }
    uint32_t word = isan__load_tag((void *)value);
    size_t size = 0;
    if (word != 0) {
        /* What its interpreter freed as it ended is as it was (quarantine.c), and a
         * pointer to that dangles. */
        char *block = word & ISAN__START ? isan__block_of((void *)value) : NULL;
        size = block == NULL || isan__object_in(block) != NULL ? 0 : isan__block_size(block);
    }
    else if (!in_module(s, value)) {
        size = malloced(s, value);
    }
    if (!isan__table_put(&s->seen, value, 1) || size == 0 || size > MAX_SIZE) {
        return;
    }
    s->bytes += size;
    s->queue[s->n++] = (struct memory){
        .start = value, .size = (uint32_t)size, .from = from, .at = at, .tagged = word != 0, .holder = *holder,
    };
}

static void
seed(const struct isan_holder *where, uint64_t value, void *arg)
{
    reach(arg, value, 0, 0, where);
}

/* The way to the word at `at` of memory i. */
static void
way(const struct search *s, size_t i, uint32_t at, struct isan__pointer_path *behind)
{
    const struct memory *m = &s->queue[i];
    memset(behind, 0, sizeof *behind);
    behind->holder = m->holder;
    behind->hops = 1;
    for (const struct memory *up = m; up->from != 0; up = &s->queue[up->from - 1]) {
        behind->hops++;
    }
    for (uint32_t hop = behind->hops; hop-- > 0; at = m->at, m = m->from ? &s->queue[m->from - 1] : NULL) {
        if (hop < ISAN_HOPS) {
            behind->at[hop] = at;
        }
    }
}

static void
look_through(struct search *s, bool untagged, bool (*wanted)(uint64_t value, void *arg),
             bool (*found)(const struct isan__pointer_path *behind, uint64_t value, void *arg), void *arg)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct memory *m = &s->queue[i];
        uint64_t words[PIECE];
        for (uint32_t at = 0; at + 8 <= m->size; at += sizeof words) {
            size_t n = m->size - at < sizeof words ? m->size - at : sizeof words;
            if (s->work-- <= 0 || !isan__peek(words, (const void *)(m->start + at), n)) {
                break;
            }
            for (uint32_t j = 0; j < n / 8; j++) {
                struct isan__pointer_path behind;
                uint64_t value = words[j];
                if (!isan__may_point_at_block(value)) {
                    continue;
                }
                if (!(untagged && m->tagged) && wanted(value, arg)) {
                    way(s, i, at + 8 * j, &behind);
                    if (found(&behind, value, arg)) {
                        return;
                    }
                }
                reach(s, value, (uint32_t)i + 1, at + 8 * j, &m->holder);
            }
        }
    }
}

void
isan__search_indirect(bool untagged, bool (*wanted)(uint64_t value, void *arg),
                     bool (*found)(const struct isan__pointer_path *behind, uint64_t value, void *arg), void *arg)
{
    int left = __atomic_load_n(&work_left[untagged], __ATOMIC_RELAXED), most = left < MAX_WORK ? left : MAX_WORK;
    if (most <= 0) {
        return;
    }
    struct search s = { .work = most, .queue = isan__map(MAX_MEMORY * sizeof *s.queue),
                        .modules = isan__map(MAX_MODULES * sizeof *s.modules), .seen = { .unlocked = true } };
    if (s.queue != NULL && s.modules != NULL) {
        isan__mark_runtime_reachable(&s.seen);
        dl_iterate_phdr(note_module, &s);
        isan__visit_statics(seed, &s);
        look_through(&s, untagged, wanted, found, arg);
    }
    __atomic_sub_fetch(&work_left[untagged], most - s.work + SEARCH, __ATOMIC_RELAXED);
    isan__unmap(s.queue, MAX_MEMORY * sizeof *s.queue);
    isan__unmap(s.modules, MAX_MODULES * sizeof *s.modules);
    isan__table_clear(&s.seen);
}

struct wish {
    uint64_t block, object;
    struct isan__pointer_path *behind;
};

static bool
is_wanted(uint64_t value, void *arg)
{
    const struct wish *wish = arg;
    return value == wish->block || value == wish->object;
}

static bool
take(const struct isan__pointer_path *behind, uint64_t value, void *arg)
{
    (void)value;
    *((struct wish *)arg)->behind = *behind;
    return true;
}

void
isan__find_holder(const void *block, const void *object, struct isan__pointer_path *behind)
{
    struct wish wish = { (uint64_t)block, (uint64_t)object, behind };
    memset(behind, 0, sizeof *behind);
    behind->holder = isan__find_static_holder(block, object);
    if (behind->holder.address == 0) {
        isan__search_indirect(false, is_wanted, take, &wish);
    }
}

void
isan__log_path(uint32_t finding, const struct isan__pointer_path *behind)
{
    struct isan_rec_behind *r = behind->hops != 0 ? isan__log_reserve(sizeof *r) : NULL;
    if (r != NULL) {
        r->finding = finding;
        r->hops = behind->hops;
        memcpy(r->at, behind->at, sizeof r->at);
        isan__log_publish(r, ISAN_REC_BEHIND);
    }
}
