/* What an interpreter left behind, when its memory has just been given back
 * (Python/pystate.c, free_interpreter).
 *
 * Its blocks refer to each other; a leak is a block that something outside
 * refers to - a static first of all - or that nothing refers to, or one of a
 * cycle.  What such a root keeps alive is only counted with it.  The roots are
 * grouped by type, creation site and static.
 *
 * References are found by looking at the words of a block, not by tp_traverse:
 * there is no interpreter to run it in, and a leak is often just what
 * tp_traverse does not know.
 */
#include <string.h>

#include "runtime/owner.h"

enum { MAX_PAIRS = 16, MAX_GROUPS = 1 << 16 };
#define TYPE_HAVE_GC (1ul << 14)            /* Include/object.h: Py_TPFLAGS_HAVE_GC */

struct group {
    struct isan_object sample;
    uint64_t count, bytes, kept, kept_bytes;
    struct isan_holder holder;
    uint32_t id, residue, raw, n_paired;
    uint32_t pairs[2 * MAX_PAIRS];
    char type[128];
};

struct block {
    char *start;
    uint8_t referred;                       /* by another block that was left */
    uint8_t claimed;                        /* counted in a group */
    uint8_t foreign;                        /* a block of another interpreter refers to it, */
    uint8_t shared;                         /* as the dictionary that it is the table of */
};

struct analysis {
    isan__slot_t slot;
    struct block *blocks;
    size_t n_blocks, room;
    uint32_t *queue;                        /* as many as blocks */
    size_t queued;
    struct group *groups;
    size_t n;
    uint32_t left, overflow;
    struct isan__table number;              /* block -> index in blocks + 1 */
    struct isan__table index;               /* key -> index in groups + 1 */
    struct isan__table holders;             /* block -> address of the static */
    struct isan__table kept;                /* raw blocks of the runtime's */
    struct isan__table counts;              /* block -> references that others have to it */
    struct isan__table explained;           /* reasons given, by group */
    bool kept_known;
    bool wrapped;                           /* tracemalloc is on */
    bool leads_on;                          /* see suspicion() */
    struct { const void *type; char name[128]; } names[256];
};

static void
held(const struct isan_holder *where, char *block, void *arg)
{
    struct analysis *a = arg;
    if (isan__table_get(&a->holders, (uint64_t)block) == 0) {
        isan__table_put(&a->holders, (uint64_t)block, where->address);
    }
}

static const char *
type_name(struct analysis *a, const char *op)
{
    /* The block is tagged, so it is there; its type need not be. */
    const void *type = isan__type_of(op);
    size_t i = ((uintptr_t)type >> 4) % 256;
    if (a->names[i].type != type) {
        if (!isan__type_name(op, a->names[i].name, sizeof a->names[i].name)) {
            strcpy(a->names[i].name, "?");
        }
        a->names[i].type = type;
    }
    return a->names[i].name;
}

/* The group of a block: made if it is the first of its kind. */
static struct group *
group_of(struct analysis *a, char *block, uint32_t residue)
{
    struct isan_object o;
    uint32_t raw = isan__load(block) & ISAN__RAW;
    char *op = isan__object_in(block);
    const char *type = op ? type_name(a, op) : "";
    isan__describe(&o, op ? op : block, block);
    uint64_t holder = isan__table_get(&a->holders, (uint64_t)block);
    struct { uint64_t holder; uint32_t origin, flags, residue, raw; } key = {
        residue ? 0 : holder, residue ? 0 : o.origin,
        residue ? 0 : o.flags & (ISAN_OBJ_OBJECT | ISAN_OBJ_ORIGIN_STACK), residue, raw,
    };
    uint64_t hash = isan__hash(type, strlen(type), isan__hash(&key, sizeof key, 0)) | 1;
    size_t i = isan__table_get(&a->index, hash);
    if (i == 0) {
        if (a->n == MAX_GROUPS) {
            a->overflow++;
            return NULL;
        }
        i = ++a->n;
        isan__table_put(&a->index, hash, i);
        struct group *g = &a->groups[i - 1];
        g->id = isan__next_finding();
        g->sample = o;
        g->holder.address = holder;
        g->residue = residue;
        g->raw = raw;
        strcpy(g->type, type);
    }
    return &a->groups[i - 1];
}

/* The findings about a block go with the group it is counted in. */
static void
pair(struct group *g, char *block, bool root)
{
    uint32_t serial = isan__watched_serial(block), ids[8];
    int n = serial ? isan__findings_of(serial, ids, 8) : 0;
    if (n > 0 && root && g->n_paired == 0) {
        /* The sample is the one the report can tell most of. */
        isan__describe(&g->sample, (void *)(uintptr_t)(g->sample.flags & ISAN_OBJ_OBJECT
            ? isan__object_in(block) : block), block);
    }
    for (int i = 0; i < n && g->n_paired < MAX_PAIRS; i++) {
        g->pairs[2 * g->n_paired] = serial;
        g->pairs[2 * g->n_paired + 1] = ids[i];
        g->n_paired++;
    }
}

/* Step 1: every block left.  What is the runtime's own is done with here. */
static void
collect(char *block, void *arg)
{
    struct analysis *a = arg;
    uint32_t word = isan__load(block);
    a->left++;
    if (word & ISAN__FREED) {
        return;                             /* quarantined: properly freed */
    }
    uint32_t residue = ISAN__RESIDUE_none;
    char *op = isan__object_in(block);
    if (op != NULL) {
        struct isan_object o;
        isan__describe(&o, op, block);
        if (o.flags & ISAN_OBJ_INTERNED
            && isan__table_get(&a->holders, (uint64_t)block) == 0) {
            residue = ISAN__RESIDUE_interned;
        }
    }
    else if (word & ISAN__RAW && a->wrapped) {
        residue = ISAN__RESIDUE_tracemalloc;
    }
    else if (word & ISAN__RAW) {
        if (!a->kept_known) {
            isan__runtime_reaches(&a->kept);
            a->kept_known = true;
        }
        if (isan__table_get(&a->kept, (uint64_t)block) != 0) {
            residue = ISAN__RESIDUE_process;
        }
    }
    if (residue != ISAN__RESIDUE_none || a->n_blocks == a->room) {
        struct group *g = group_of(a, block, residue);
        if (g != NULL) {
            g->count++;
            g->bytes += isan__block_size(block);
        }
        return;
    }
    a->blocks[a->n_blocks].start = block;
    isan__table_put(&a->number, (uint64_t)block, ++a->n_blocks);
}

/* Where the pointer leads: before 3.13 that to the values of an instance's
 * attributes leads into their block, behind a prefix as long as its last byte
 * says, and in 3.12 is one less (Include/internal/pycore_dict.h, new_values). */
static const char *
pointed_at(uint64_t value)
{
    uint64_t values = (value + 1) & ~(uint64_t)1;
    uint8_t prefix;
    if (value % ISAN__GRANULE == 0) {
        return (const char *)value;
    }
    if (isan__py.values_prefixed && values % 8 == 0
        && isan__peek(&prefix, (const char *)values - 1, 1) && prefix % 8 == 0
        && (values - prefix) % ISAN__GRANULE == 0 && isan__load((void *)(values - prefix)) & ISAN__START) {
        return (const char *)values - prefix;
    }
    return NULL;
}

/* Numbers and bytes, which look like pointers, and refer to nothing.  Such is
 * the address of a class in the dictionary of a static type's subclasses. */
static bool
is_number(const char *op)
{
    enum { LONG = 1 << 24, BYTES = 1 << 27 };   /* Include/object.h, Py_TPFLAGS_..._SUBCLASS */
    unsigned long flags;
    const char *type = op == NULL ? NULL : isan__type_of(op);
    return isan__runtime_has((uint64_t)type)
        && isan__peek(&flags, type + isan__py.type_flags, sizeof flags) && flags & (LONG | BYTES);
}

/* The blocks that block i refers to, but for itself.  The tables of what all
 * interpreters share keep nothing of theirs: statics.c looks at their keys,
 * the values are weak references, and hashes of addresses look like pointers. */
static void
each_reference(struct analysis *a, size_t i, void (*visit)(struct analysis *, size_t))
{
    /* Include/cpython/weakrefobject.h, PyWeakReference: wr_object, which it
     * does not keep alive. */
    enum { WR_OBJECT = 16 };
    char *block = a->blocks[i].start, *op = isan__object_in(block);
    if (a->blocks[i].shared || is_number(op)) {
        return;
    }
    size_t size = isan__block_size(block);
    /* A PyGC_Head before the object links it to all others. */
    size_t skip = op > block ? (size_t)(op - block) - ISAN__GRANULE : size;
    size_t weak = op != NULL && isan__type_of(op) == isan__py.weakref_type
        ? (size_t)(op - block) + WR_OBJECT : size;
    for (size_t at = 0; at + 8 <= size; at += 8) {
        if (at == skip) {
            at += ISAN__GRANULE;
        }
        uint64_t value;
        memcpy(&value, block + at, sizeof value);
        if (value < 4096 || value >> 47 != 0 || at == weak) {
            continue;
        }
        const char *to = pointed_at(value);
        uint32_t word = to ? isan__load(to) : 0;
        if ((word & 0xffff) != a->slot || !isan__begins_something(word)) {
            continue;
        }
        char *start = isan__block_of(to);
        size_t number = start ? isan__table_get(&a->number, (uint64_t)start) : 0;
        if (number != 0 && number - 1 != i) {
            visit(a, number - 1);
        }
    }
}

static bool
collectable(const char *op)
{
    unsigned long flags;
    return isan__peek(&flags, (const char *)isan__type_of(op) + isan__py.type_flags, sizeof flags)
        && flags & TYPE_HAVE_GC;
}

static void
note_collectable(struct analysis *a, size_t i)
{
    char *op = isan__object_in(a->blocks[i].start);
    a->leads_on |= op != NULL && collectable(op);
}

/* How likely it is that block i is why its cycle is there, 0 most: the garbage
 * collector cannot see through an object of an extension whose type takes no
 * part; then an object that can be in a cycle; what else seems to be in one
 * has an old pointer in it. */
static int
suspicion(struct analysis *a, size_t i)
{
    char *op = isan__object_in(a->blocks[i].start);
    if (op == NULL || collectable(op)) {
        return op == NULL ? 2 : 1;
    }
    a->leads_on = false;
    if (!isan__runtime_has((uint64_t)isan__type_of(op))) {
        each_reference(a, i, note_collectable);
    }
    return a->leads_on ? 0 : 2;
}

static void
refer(struct analysis *a, size_t i)
{
    a->blocks[i].referred = 1;
}

static void
claim(struct analysis *a, size_t i)
{
    if (!a->blocks[i].claimed) {
        a->blocks[i].claimed = 1;
        a->queue[a->queued++] = (uint32_t)i;
    }
}

/* Does a block of another interpreter refer to one of those left?  That may be
 * any thread's, so it is read with care. */
static void
look_in(char *block, void *arg)
{
    struct analysis *a = arg;
    size_t size = isan__block_size(block);
    uint64_t words[512];
    if ((isan__load(block) & 0xffff) == a->slot) {
        return;
    }
    for (size_t at = 0; at < size; at += sizeof words) {
        size_t n = size - at < sizeof words ? size - at : sizeof words;
        if (!isan__peek(words, block + at, n)) {
            return;
        }
        for (size_t j = 0; j < n / 8; j++) {
            if (words[j] >= 4096 && words[j] >> 47 == 0 && words[j] % ISAN__GRANULE == 0
                && (isan__load((void *)words[j]) & 0xffff) == a->slot) {
                size_t number = isan__table_get(&a->number, words[j]);
                if (number != 0) {
                    const char *op = isan__object_in(block);
                    a->blocks[number - 1].foreign = 1;
                    a->blocks[number - 1].shared |= op != NULL && isan__type_of(op) == isan__py.dict_type
                        && block + at + 8 * j == op + ISAN__MA_KEYS;
                }
            }
        }
    }
}

/* Why what block i is a root of is the runtime's, if it is. */
static uint32_t
residue_of(struct analysis *a, size_t i)
{
    char *block = a->blocks[i].start;
    uint64_t holder = isan__table_get(&a->holders, (uint64_t)block);
    const char *op = isan__object_in(block);
    bool of_runtime = isan__runtime_has(holder)
        || (holder != 0 && op != NULL && isan__within_arg_parser(holder, op));
    return isan__py.one_gil && of_runtime ? ISAN__RESIDUE_runtime
        : a->wrapped && holder == 0 && isan__is_str(op) ? ISAN__RESIDUE_tracemalloc
        : a->blocks[i].foreign && op == NULL ? ISAN__RESIDUE_one_heap
        : op == NULL && isan__interp_of(a->slot)->shares_main && isan__is_interned_table(block)
        ? ISAN__RESIDUE_interned
        : ISAN__RESIDUE_none;
}

static void
count_reference(struct analysis *a, size_t i)
{
    uint64_t block = (uint64_t)a->blocks[i].start;
    isan__table_put(&a->counts, block, isan__table_get(&a->counts, block) + 1);
}

static uint32_t
references_to(const void *op, void *arg)
{
    struct analysis *a = arg;
    return (uint32_t)isan__table_get(&a->counts, (uint64_t)isan__block_of(op));
}

static bool
record_reason(struct analysis *a, const struct group *g, const struct isan__why *why)
{
    uint64_t of[3] = { g->id, why->reason, why->offset };
    uint64_t key = isan__hash(why->type, strlen(why->type), isan__hash(of, sizeof of, 0)) | 1;
    size_t type = strlen(why->type) + 1, target = strlen(why->target) + 1,
        member = strlen(why->member) + 1;
    if (isan__table_get(&a->explained, key) != 0) {
        return true;
    }
    struct isan_rec_reason *r = isan__log_reserve(sizeof *r + type + target + member);
    if (r == NULL) {
        return false;
    }
    isan__table_put(&a->explained, key, 1);
    r->leak = g->id;
    r->reason = why->reason;
    r->basicsize = why->basicsize;
    r->offset = why->offset;
    r->code = why->code;
    memcpy(r->text, why->type, type);
    memcpy(r->text + type, why->target, target);
    memcpy(r->text + type + target, why->member, member);
    isan__log_publish(r, ISAN_REC_REASON);
    return true;
}

/* Why the collector could not clear the cycle whose root was looked at last.
 * Without tp_clear, or resurrected, an object is a reason only if nothing else
 * is: the collector clears the others, and that is mostly enough. */
static void
explain(struct analysis *a, const struct group *g)
{
    enum { MAX_REASONS = 8, MAX_OBJECTS = 4096 };
    if (a->counts.used == 0) {
        for (size_t i = 0; i < a->n_blocks; i++) {
            each_reference(a, i, count_reference);
        }
    }
    bool found = g == NULL;
    for (int last = 0; last < 2 && !found; last++) {
        for (size_t next = 0; next < a->queued && next < MAX_OBJECTS; next++) {
            struct isan__why why[MAX_REASONS];
            char *op = isan__object_in(a->blocks[a->queue[next]].start);
            int n = op == NULL ? 0 : isan__traverse_reasons(op, references_to, a, why, MAX_REASONS);
            for (int i = 0; i < n; i++) {
                bool weak = why[i].reason == ISAN__REASON_no_clear
                    || why[i].reason == ISAN__REASON_resurrected;
                found |= weak == last && record_reason(a, g, &why[i]);
            }
        }
    }
}

/* Step 2: block i is a root; all it leads to is counted with it. */
static struct group *
root(struct analysis *a, size_t i)
{
    if (a->blocks[i].claimed) {
        return NULL;
    }
    struct group *g = group_of(a, a->blocks[i].start, residue_of(a, i));
    a->queued = 0;
    claim(a, i);
    for (size_t next = 0; next < a->queued; next++) {
        size_t j = a->queue[next];
        char *block = a->blocks[j].start;
        if (g != NULL) {
            uint64_t size = isan__block_size(block);
            if (j == i) {
                g->count++;
                g->bytes += size;
            }
            else {
                g->kept++;
                g->kept_bytes += size;
            }
            pair(g, block, j == i);
            isan__block_leaked(block, g->id);
        }
        each_reference(a, j, claim);
    }
    return g;
}

static void
report(const struct group *g)
{
    size_t n = (strlen(g->type) + 1 + 7) & ~(size_t)7, pairs = g->n_paired * 8;
    struct isan_rec_leak *r = isan__log_reserve(sizeof *r + n + pairs);
    if (r == NULL) {
        return;
    }
    r->id = g->id;
    r->residue = (uint16_t)g->residue;
    r->count = g->count;
    r->bytes = g->bytes;
    r->kept = g->kept;
    r->kept_bytes = g->kept_bytes;
    r->object = g->sample;
    r->holder = g->holder;
    r->n_paired = g->n_paired;
    r->domain = g->raw ? 'r' : g->sample.flags & ISAN_OBJ_OBJECT ? 'o' : 'm';
    r->text_size = (uint32_t)n;
    strcpy(r->text, g->type);
    memcpy(r->text + n, g->pairs, pairs);
    isan__log_publish(r, ISAN_REC_LEAK);
    for (uint32_t i = 0; i < g->n_paired; i++) {
        isan__finding_became_leak(g->pairs[2 * i + 1], r->id);
    }
}

static void
count(char *block, void *arg)
{
    (void)block;
    ++*(uint32_t *)arg;
}

uint32_t
isan__leaks_of(isan__slot_t slot)
{
    uint32_t left = 0;
    isan__blocks_of(slot, count, &left);
    if (!isan__flags.leaks || left == 0) {
        return left;
    }
    struct analysis *a = isan__map(sizeof *a);
    size_t blocks = left * sizeof *a->blocks, queue = left * sizeof *a->queue,
        groups = MAX_GROUPS * sizeof *a->groups;
    if (a == NULL || (a->groups = isan__map(groups)) == NULL
        || (a->blocks = isan__map(blocks)) == NULL || (a->queue = isan__map(queue)) == NULL) {
        isan__log_note("no memory to look at what interpreter %lld left behind",
                       (long long)isan__interp_of(slot)->id);
    }
    else {
        a->slot = slot;
        a->room = left;
        a->wrapped = isan__alloc_wrapped();
        isan__modules_sync();
        isan__look_at_statics();
        isan__statics_of(slot, held, a);
        isan__blocks_of(slot, collect, a);
        left = a->left;
        if (isan__py.one_gil && a->n_blocks != 0) {
            isan__blocks_of(0, look_in, a);
        }
        for (size_t i = 0; i < a->n_blocks; i++) {
            each_reference(a, i, refer);
        }
        for (size_t i = 0; i < a->n_blocks; i++) {
            if (isan__table_get(&a->holders, (uint64_t)a->blocks[i].start) != 0) {
                root(a, i);
            }
        }
        for (size_t i = 0; i < a->n_blocks; i++) {
            if (!a->blocks[i].referred) {
                root(a, i);
            }
        }
        for (int rank = 0; rank <= 2; rank++) {             /* cycles */
            for (size_t i = 0; i < a->n_blocks; i++) {
                if (!a->blocks[i].claimed && suspicion(a, i) == rank) {
                    explain(a, root(a, i));
                }
            }
        }
        for (size_t i = 0; i < a->n; i++) {
            report(&a->groups[i]);
        }
        if (a->overflow != 0) {
            isan__log_note("interpreter %lld left %u more blocks of more types and places "
                           "than are told apart", (long long)isan__interp_of(slot)->id,
                           a->overflow);
        }
        isan__table_clear(&a->number);
        isan__table_clear(&a->index);
        isan__table_clear(&a->holders);
        isan__table_clear(&a->kept);
        isan__table_clear(&a->counts);
        isan__table_clear(&a->explained);
    }
    if (a != NULL) {
        isan__unmap(a->groups, groups);
        isan__unmap(a->blocks, blocks);
        isan__unmap(a->queue, queue);
        isan__unmap(a, sizeof *a);
    }
    return left;
}
