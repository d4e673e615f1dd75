/* Finds the static that leads to an object through memory, when no static points at the object.
 *
 * A hash table, a list of callbacks or a C++ container has its elements in memory of malloc, which
 * is no interpreter's, or of PyMem_*.  The search goes through such memory from the statics on,
 * breadth first.  It only names the variable in a finding.  What it finds is no finding of its own:
 * a library may keep there what each interpreter has given it.
 *
 * The search does not go through objects, since their references are their own.  It does not go
 * through memory that the runtime's own statics lead to, since its interpreters lead to everything.
 * It does not begin at statics of libraries that do not use Python: their memory is full of old
 * pointers.
 *
 * malloc's memory has no tags.  That of the GNU C library is recognised by the sizes before and
 * after it (malloc/malloc.c, struct malloc_chunk).  Memory of another malloc is not recognised.
 */
#include "runtime/detect/indirect_holder.h"

#include "runtime/base/scan.h"
#include "runtime/core/block.h"
#include "runtime/elf/modules.h"

enum {
    MAX_MEMORY = 1 << 16, MAX_BYTES = 16 << 20, MAX_SIZE = 1 << 20,
    MMAPPED = 2, FLAGS = 7, MIN_CHUNK = 32,
    SEARCH = 1 << 12, MAX_WORK = 1 << 18, WORK_TRAPS = 1 << 19, WORK_LEAKS = 1 << 21,
};

/* The work that is left for all searches of the process, in reads of memory of less than a
 * microsecond. A search itself costs SEARCH.  That is half a second for findings, and some seconds
 * for the ends of interpreters. */
static int work_left[2] = { WORK_TRAPS, WORK_LEAKS };

struct memory {
    uint64_t start;
    uint32_t size, at;
    uint32_t from;                          /* index, plus 1, of the memory with a pointer here at `at`; 0: a static has it */
    bool tagged;
    struct isan_holder holder;              /* the static that leads here */
};

struct search {
    bool untagged;
    bool (*wanted)(uint64_t value, void *arg);
    bool (*found)(const struct isan__pointer_path *path, uint64_t value, void *arg);
    void *arg;
    struct memory *queue;
    size_t n, bytes;
    size_t i;                               /* index of the memory that is being scanned */
    int work;                               /* reads that are left */
    bool cut_short, enough;
    struct isan__table seen;
};

/* The size of malloc's memory that begins at `start`; 0: none does. */
static size_t
malloc_size(struct search *s, uint64_t start)
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
        return (start - sizeof before + before[0]) % ISAN__PAGE == 0 && (size + before[0]) % ISAN__PAGE == 0
            ? size - sizeof before : 0;
    }
    return isan__peek(&after, (const void *)(start + size - 8), sizeof after)
        && after & 1 && !(after & 8) && after >= MIN_CHUNK && after >> 40 == 0 ? size - 8 : 0;
}

/* Queues the memory at `value`, unless it is known. */
static void
add_memory(struct search *s, uint64_t value, uint32_t from, uint32_t at, const struct isan_holder *holder)
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
        /* Quarantined memory still has its old content (quarantine.c). */
        char *block = word & ISAN__START ? isan__block_of((void *)value) : NULL;
        size = block == NULL || isan__object_in(block) != NULL ? 0 : isan__block_size(block);
    }
    else if (!isan__is_in_module(value)) {
        size = malloc_size(s, value);
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
add_from_static(const struct isan_holder *where, uint64_t value, void *arg)
{
    add_memory(arg, value, 0, 0, where);
}

/* The path to the word at `at` of memory i. */
static void
make_path(const struct search *s, size_t i, uint32_t at, struct isan__pointer_path *path)
{
    const struct memory *m = &s->queue[i];
    memset(path, 0, sizeof *path);
    path->holder = m->holder;
    path->n_steps = 1;
    for (const struct memory *up = m; up->from != 0; up = &s->queue[up->from - 1]) {
        path->n_steps++;
    }
    for (uint32_t step = path->n_steps; step-- > 0; at = m->at, m = m->from ? &s->queue[m->from - 1] : NULL) {
        if (step < ISAN_MAX_STEPS) {
            path->at[step] = at;
        }
    }
}

static bool
search_word(size_t at, uint64_t word, void *arg)
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
    add_memory(s, word, (uint32_t)s->i + 1, (uint32_t)at, &m->holder);
    return true;
}

static void
search_memory(struct search *s)
{
    for (s->i = 0; s->i < s->n && !s->enough; s->i++) {
        const struct memory *m = &s->queue[s->i];
        if (s->work <= 0) {
            s->cut_short = true;
            return;
        }
        s->work -= 1 + (int)(m->size / ISAN__PAGE);
        isan__scan_unstable((const void *)m->start, m->size, search_word, s);
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
        isan__visit_statics(add_from_static, &s);
        search_memory(&s);
    }
    __atomic_sub_fetch(&work_left[untagged], most - s.work + SEARCH, __ATOMIC_RELAXED);
    isan__unmap(s.queue, MAX_MEMORY * sizeof *s.queue);
    isan__table_clear(&s.seen);
    return s.enough || !s.cut_short;
}

struct target {
    uint64_t block, object;
    struct isan__pointer_path *path;
};

static bool
is_target(uint64_t value, void *arg)
{
    const struct target *target = arg;
    return value == target->block || value == target->object;
}

static bool
take_path(const struct isan__pointer_path *path, uint64_t value, void *arg)
{
    (void)value;
    *((struct target *)arg)->path = *path;
    return true;
}

void
isan__find_holder(const void *block, const void *object, struct isan__pointer_path *path)
{
    struct target target = { (uint64_t)block, (uint64_t)object, path };
    memset(path, 0, sizeof *path);
    path->holder = isan__find_static_holder(block, object);
    if (path->holder.address == 0 && !isan__search_indirect(false, is_target, take_path, &target)) {
        path->holder.flags = ISAN_HOLDER_CUT_SHORT;
    }
}

void
isan__log_path(uint32_t finding, const struct isan__pointer_path *path)
{
    struct isan_rec_path *r = path->n_steps != 0 ? isan__log_reserve(sizeof *r) : NULL;
    if (r != NULL) {
        r->finding = finding;
        r->n_steps = path->n_steps;
        memcpy(r->at, path->at, sizeof r->at);
        isan__log_publish(r, ISAN_REC_PATH);
    }
}
