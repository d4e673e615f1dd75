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
#include "runtime/detect/indirect_holder.h"

#include "runtime/base/scan.h"
#include "runtime/core/block.h"
#include "runtime/core/log.h"
#include "runtime/elf/modules.h"

enum {
    MAX_MEMORY = 1 << 16, MAX_BYTES = 16 << 20, MAX_SIZE = 1 << 20,
    MMAPPED = 2, FLAGS = 7, MIN_CHUNK = 32,
    SEARCH = 1 << 12, MAX_WORK = 1 << 18, WORK_TRAPS = 1 << 19, WORK_LEAKS = 1 << 21,
};

/* What is left of the work that all searches of the process may make, in reads of
 * memory, of less than a microsecond each, as which a search itself counts, too: half
 * a second for findings, some seconds for the ends of interpreters. */
static int work_left[2] = { WORK_TRAPS, WORK_LEAKS };

struct memory {
    uint64_t start;
    uint32_t size, at;
    uint32_t from;                          /* + 1: the word at `at` of that one leads here; 0: */
    bool tagged;
    struct isan_holder holder;              /* this one does */
};

struct search {
    bool untagged;
    bool (*wanted)(uint64_t value, void *arg);
    bool (*found)(const struct isan__pointer_path *path, uint64_t value, void *arg);
    void *arg;
    struct memory *queue;
    size_t n, bytes;
    size_t i;                               /* what is looked through */
    int work;                               /* reads that are left */
    bool cut_short, enough;
    struct isan__table seen;
};

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
    if (isan__table_get(&s->seen, value) != 0) {
        return;
    }
    if (s->n == MAX_MEMORY || s->bytes >= MAX_BYTES || s->work <= 0) {
        s->cut_short = true;
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
    else if (!isan__is_in_module(value)) {
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

/* The path to the word at `at` of memory i. */
static void
make_path(const struct search *s, size_t i, uint32_t at, struct isan__pointer_path *path)
{
    const struct memory *m = &s->queue[i];
    memset(path, 0, sizeof *path);
    path->holder = m->holder;
    path->hops = 1;
    for (const struct memory *up = m; up->from != 0; up = &s->queue[up->from - 1]) {
        path->hops++;
    }
    for (uint32_t hop = path->hops; hop-- > 0; at = m->at, m = m->from ? &s->queue[m->from - 1] : NULL) {
        if (hop < ISAN_HOPS) {
            path->at[hop] = at;
        }
    }
}

static bool
look_at_word(size_t at, uint64_t word, void *arg)
{
    struct search *s = arg;
    const struct memory *m = &s->queue[s->i];
    struct isan__pointer_path path;
    if (!isan__may_point_at_block(word)) {
        return true;
    }
    if (!(s->untagged && m->tagged) && s->wanted(word, s->arg)) {
        make_path(s, s->i, (uint32_t)at, &path);
        if (s->found(&path, word, s->arg)) {
            s->enough = true;
            return false;
        }
    }
    reach(s, word, (uint32_t)s->i + 1, (uint32_t)at, &m->holder);
    return true;
}

static void
look_through(struct search *s)
{
    for (s->i = 0; s->i < s->n && !s->enough; s->i++) {
        const struct memory *m = &s->queue[s->i];
        if (s->work <= 0) {
            s->cut_short = true;
            return;
        }
        s->work -= 1 + (int)(m->size / ISAN__PAGE);
        isan__scan_unstable((const void *)m->start, m->size, look_at_word, s);
    }
}

bool
isan__search_indirect(bool untagged, bool (*wanted)(uint64_t value, void *arg),
                      bool (*found)(const struct isan__pointer_path *path, uint64_t value, void *arg), void *arg)
{
    int left = __atomic_load_n(&work_left[untagged], __ATOMIC_RELAXED), most = left < MAX_WORK ? left : MAX_WORK;
    if (most <= 0) {
        return false;
    }
    struct search s = { .untagged = untagged, .wanted = wanted, .found = found, .arg = arg, .work = most,
                        .queue = isan__map(MAX_MEMORY * sizeof *s.queue), .seen = ISAN__TABLE_UNLOCKED };
    s.cut_short = s.queue == NULL;
    if (s.queue != NULL) {
        isan__mark_runtime_reachable(&s.seen);
        isan__visit_statics(seed, &s);
        look_through(&s);
    }
    __atomic_sub_fetch(&work_left[untagged], most - s.work + SEARCH, __ATOMIC_RELAXED);
    isan__unmap(s.queue, MAX_MEMORY * sizeof *s.queue);
    isan__table_clear(&s.seen);
    return s.enough || !s.cut_short;
}

struct wish {
    uint64_t block, object;
    struct isan__pointer_path *path;
};

static bool
is_wanted(uint64_t value, void *arg)
{
    const struct wish *wish = arg;
    return value == wish->block || value == wish->object;
}

static bool
take_path(const struct isan__pointer_path *path, uint64_t value, void *arg)
{
    (void)value;
    *((struct wish *)arg)->path = *path;
    return true;
}

void
isan__find_holder(const void *block, const void *object, struct isan__pointer_path *path)
{
    struct wish wish = { (uint64_t)block, (uint64_t)object, path };
    memset(path, 0, sizeof *path);
    path->holder = isan__find_static_holder(block, object);
    if (path->holder.address == 0 && !isan__search_indirect(false, is_wanted, take_path, &wish)) {
        path->holder.flags = ISAN_HOLDER_CUT_SHORT;
    }
}

void
isan__log_path(uint32_t finding, const struct isan__pointer_path *path)
{
    struct isan_rec_behind *r = path->hops != 0 ? isan__log_reserve(sizeof *r) : NULL;
    if (r != NULL) {
        r->finding = finding;
        r->hops = path->hops;
        memcpy(r->at, path->at, sizeof r->at);
        isan__log_publish(r, ISAN_REC_BEHIND);
    }
}
