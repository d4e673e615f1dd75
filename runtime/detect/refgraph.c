/* The blocks an interpreter left, and who refers to them.
 *
 * References are found by looking at the words of a block, not by tp_traverse:
 * there is no interpreter to run it in, and a leak is often just what
 * tp_traverse does not know.  What is known not to count is left out: links of
 * the garbage collector, weak references, the unused end of a list.
 */
#include "runtime/detect/refgraph.h"

#include "runtime/detect/gc_visibility.h"
#include "runtime/detect/static_scan.h"

enum { REGION = 1 << 16, BUCKET = 256, PER_REGION = REGION / BUCKET, WINDOW = 1 << 16, MAX_OUTSIDE = 1 << 18, SHAPES = 1024 };

/* Include/cpython/weakrefobject.h: wr_object and the links of the weak
 * references to it; listobject.h. */
enum { WR_OBJECT = 16, WR_PREV = 40, WR_NEXT = 48, OB_SIZE = 16, OB_ITEM = 24 };

/* The first node in each bucket of a region, + 1; many regions at a time. */
struct isan__buckets {
    struct isan__buckets *before;
    uint32_t n, first[255][PER_REGION];
};

/* What in an instance of a type is no reference. */
struct isan__shape {
    const void *type;
    uint32_t scan;                          /* only this much from the object's start may refer; 0: all */
    int32_t weaklist;                       /* where its weak references begin, from its start; 0: none */
    unsigned long flags;                    /* tp_flags */
    bool weakref;
};

static const struct isan__shape *
shape_of(struct isan__graph *g, const char *type)
{
    struct isan__shape *s = &g->shapes[((uintptr_t)type >> 4) % SHAPES];
    if (s->type == type) {
        return s;
    }
    memset(s, 0, sizeof *s);
    s->type = type;
    struct isan__type_object t;
    const void *base = type;
    for (int i = 0; i < 16 && isan__read_type(&t, base); i++, base = t.base) {
        if (i == 0) {
            s->weaklist = (int32_t)t.weaklistoffset;
            s->flags = t.flags;
        }
        s->weakref |= base == isan__py.weakref_type || base == isan__py.proxy_type
            || base == isan__py.callable_proxy_type;
    }
    /* Text and numbers are no pointers, whatever they look like. */
    s->scan = type == isan__py.unicode_type ? isan__py.unicode_ascii + isan__py.unicode_header + 8u
        : type == isan__py.bytes_type ? isan__py.bytes_data
        : type == isan__py.long_type || type == isan__py.float_type ? 16u
        : type == isan__py.code_type ? isan__py.code_units      /* what is cached in it is borrowed */
        : 0;
    return s;
}

bool
isan__type_has(struct isan__graph *g, const void *op, unsigned long flag)
{
    return op != NULL && shape_of(g, isan__object_type(op))->flags & flag;
}

/* Is the word at this offset from the start of an object of this type one of
 * the links that keep nothing? */
static bool
is_link(struct isan__graph *g, const void *type, ptrdiff_t at)
{
    if (at < 0 && at >= -16) {
        return true;                        /* PyGC_Head */
    }
    const struct isan__shape *s = shape_of(g, type);
    return (s->weaklist != 0 && at == s->weaklist)
        || (s->weakref && (at == WR_OBJECT || at == WR_PREV || at == WR_NEXT))
        || (s->scan != 0 && at >= (ptrdiff_t)s->scan);
}

bool
isan__graph_begin(struct isan__graph *g, isan__slot_t slot, bool living, size_t room)
{
    memset(g, 0, sizeof *g);
    g->slot = slot;
    g->living = living;
    g->room = room;
    g->regions.unlocked = g->held.unlocked = g->process.unlocked = g->owners.unlocked = true;
    g->nodes = isan__map(room * sizeof *g->nodes);
    g->headed = isan__map(room * sizeof *g->headed);
    g->outside = isan__map(MAX_OUTSIDE * sizeof *g->outside);
    g->window = isan__map(WINDOW);
    g->shapes = isan__map(SHAPES * sizeof *g->shapes);
    return g->nodes != NULL && g->headed != NULL && g->outside != NULL && g->window != NULL && g->shapes != NULL;
}

void
isan__graph_end(struct isan__graph *g)
{
    isan__unmap(g->nodes, g->room * sizeof *g->nodes);
    isan__unmap(g->headed, g->room * sizeof *g->headed);
    isan__unmap(g->outside, MAX_OUTSIDE * sizeof *g->outside);
    isan__unmap(g->window, WINDOW);
    isan__unmap(g->shapes, SHAPES * sizeof *g->shapes);
    for (struct isan__buckets *before; g->buckets != NULL; g->buckets = before) {
        before = g->buckets->before;
        isan__unmap(g->buckets, sizeof *g->buckets);
    }
    isan__table_clear(&g->regions);
    isan__table_clear(&g->held);
    isan__table_clear(&g->process);
    isan__table_clear(&g->owners);
}

/* The bucket of an address; NULL: no node is near it, or no memory for one. */
static uint32_t *
bucket_of(struct isan__graph *g, const char *p, bool make)
{
    uint64_t region = (uintptr_t)p / REGION;
    if (region != g->region) {
        uint64_t first = isan__table_get(&g->regions, region);
        if (first == 0 && make) {
            if (g->buckets == NULL || g->buckets->n == sizeof g->buckets->first / sizeof *g->buckets->first) {
                struct isan__buckets *more = isan__map(sizeof *more);
                if (more == NULL) {
                    return NULL;
                }
                more->before = g->buckets;
                g->buckets = more;
            }
            first = (uint64_t)g->buckets->first[g->buckets->n++];
            isan__table_put_or_drop(&g->regions, region, first);
        }
        if (first == 0) {
            return NULL;
        }
        g->region = region;
        g->first = (uint32_t *)first;
    }
    return &g->first[(uintptr_t)p % REGION / BUCKET];
}

bool
isan__graph_add(struct isan__graph *g, char *block, char *op)
{
    if (g->n == g->room) {
        return false;
    }
    uint32_t *bucket = bucket_of(g, block, true);
    if (bucket == NULL) {
        return false;
    }
    if (*bucket == 0) {
        *bucket = (uint32_t)g->n + 1;
    }
    struct isan__node *node = &g->nodes[g->n++];
    node->start = block;
    node->op = op;
    node->outside = (uint32_t)isan__table_get(&g->held, (uint64_t)block);
    node->found = node->outside ? g->outside[node->outside - 1].count : 0;
    /* In a free list, with what was in it before. */
    node->silent = g->living && op != NULL && isan__reference_count(op) == 0;
    return true;
}

/* A reference is to a block's start or to its object. */
struct isan__node *
isan__node_at(struct isan__graph *g, const void *p)
{
    char *start = isan__block_of(p);
    const uint32_t *bucket = start ? bucket_of(g, start, false) : NULL;
    if (bucket != NULL && *bucket != 0) {
        for (size_t i = *bucket - 1; i < g->n && g->nodes[i].start <= start; i++) {
            if (g->nodes[i].start == start) {
                return &g->nodes[i];
            }
        }
    }
    return NULL;
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
        && (values - prefix) % ISAN__GRANULE == 0 && isan__load_tag((void *)(values - prefix)) & ISAN__START) {
        return (const char *)values - prefix;
    }
    return NULL;
}

/* Could a word be a reference to a block of the interpreter?  Where it leads. */
static const char *
slot_has(const struct isan__graph *g, uint64_t value)
{
    if (value < 4096 || value >> 47 != 0) {
        return NULL;
    }
    const char *to = pointed_at(value);
    uint32_t word = to ? isan__load_tag(to) : 0;
    return (word & 0xffff) == g->slot && isan__may_start_object(word) ? to : NULL;
}

/* Memory to whose start nothing refers may be known by an object's pointer into
 * it, behind a header.  Memory that was never filled has all sorts of those. */
static struct isan__node *
around(struct isan__graph *g, uint64_t value)
{
    size_t low = 0, high = g->n_headed;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uint64_t)g->nodes[g->headed[middle]].start <= value) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    struct isan__node *node = low == 0 ? NULL : &g->nodes[g->headed[low - 1]];
    return node != NULL && value - (uint64_t)node->start < isan__block_size(node->start) ? node : NULL;
}

/* The node that a word refers to, or NULL. */
static struct isan__node *
referred_by(struct isan__graph *g, uint64_t value)
{
    /* Below all nodes there are numbers, such as the versions of dictionaries,
     * and each would bring in another page of tags. */
    if (g->n == 0 || value < (uint64_t)g->nodes[0].start) {
        return NULL;
    }
    const char *to = slot_has(g, value);
    return to != NULL ? isan__node_at(g, to) : NULL;
}

/* Is the word at `at` in this memory the hash of a dictionary's key?  That of
 * an int is the int itself, which may well be the address of an object. */
static bool
is_hash(const char *table, size_t size, size_t at, bool stable)
{
    struct isan__keys keys;
    if (size < 64 || !isan__keys_at(&keys, table, stable)) {     /* it has no smaller one */
        return false;
    }
    size_t entries = (size_t)(keys.entries - table);
    return keys.key != 0 && keys.n <= size / keys.entry_size && entries + keys.n * keys.entry_size <= size
        && at >= entries && (at - entries) % keys.entry_size == 0;
}

/* A copy of size bytes of memory that may go at any moment: a large piece at
 * once, since each takes a system call. */
static const char *
copy_of(struct isan__graph *g, const char *from, size_t size)
{
    size_t into = (size_t)(from - g->window_from);
    if (from < g->window_from || into + size > g->window_size) {
        size_t all = WINDOW;
        /* What is behind it may not be mapped. */
        while (all > size && !isan__peek(g->window, from, all)) {
            all /= 2;
        }
        if (all <= size && !isan__peek(g->window, from, all = size)) {
            return NULL;
        }
        g->window_from = from;
        g->window_size = all;
        into = 0;
    }
    return g->window + into;
}

void
isan__each_reference(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg)
{
    const struct isan__node *node = &g->nodes[i];
    size_t size = isan__block_size(node->start);
    ptrdiff_t before = node->op ? node->op - node->start : 0;
    if (node->silent) {
        return;
    }
    if (node->limit != 0 && node->limit - 1 < size) {
        size = node->limit - 1;
    }
    if (node->op != NULL) {
        const struct isan__shape *s = shape_of(g, isan__object_type(node->op));
        if (s->scan != 0 && (size_t)before + s->scan < size) {
            size = (size_t)before + s->scan;
        }
    }
    /* What needs no GIL to be freed may go at any moment while its owner lives. */
    bool stable = !g->living || node->op != NULL || !(isan__load_tag(node->start) & ISAN__RAW);
    for (size_t at = 0; at + 8 <= size; at += 8) {
        uint64_t value;
        const char *word = stable ? node->start + at : copy_of(g, node->start + at, sizeof value);
        if (word == NULL) {
            return;
        }
        memcpy(&value, word, sizeof value);
        const struct isan__node *to = referred_by(g, value);
        if (to == NULL && node->op != NULL && g->n_headed != 0) {
            to = around(g, value);
        }
        if (to != NULL
            && (node->op ? !is_link(g, isan__object_type(node->op), (ptrdiff_t)at - before)
                : !is_hash(node->start, size, at, stable))) {
            visit(g, i, (uint32_t)at, (size_t)(to - g->nodes), arg);
        }
    }
}

/* The head of the list of weak references to an object; they are linked. */
void
isan__each_weak(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg)
{
    const struct isan__node *node = &g->nodes[i];
    const struct isan__shape *s = node->op ? shape_of(g, isan__object_type(node->op)) : NULL;
    ptrdiff_t before = node->op - node->start;
    uint64_t value;
    if (s == NULL || s->weaklist == 0 || before + s->weaklist < 0
        || (size_t)(before + s->weaklist) + sizeof value > isan__block_size(node->start)) {
        return;
    }
    uint32_t at = (uint32_t)(before + s->weaklist);
    memcpy(&value, node->start + at, sizeof value);
    for (int n = 0; n < 1 << 16; n++) {
        const struct isan__node *weak = referred_by(g, value);
        if (weak == NULL || weak->op == NULL || !shape_of(g, isan__object_type(weak->op))->weakref) {
            return;
        }
        visit(g, i, at, (size_t)(weak - g->nodes), arg);
        memcpy(&value, weak->op + WR_NEXT, sizeof value);
    }
}

bool
isan__weak_of(struct isan__graph *g, size_t i)
{
    const char *op = g->nodes[i].op;
    uint64_t value;
    if (op == NULL || !shape_of(g, isan__object_type(op))->weakref) {
        return false;
    }
    memcpy(&value, op + WR_OBJECT, sizeof value);
    return referred_by(g, value) != NULL;
}

static void
count(struct isan__graph *g, size_t from, uint32_t at, size_t to, void *arg)
{
    (void)at;
    (void)arg;
    g->nodes[to].found++;
    g->nodes[to].own += from == to;
    g->nodes[to].referred |= from != to;
}

static void
count_headed(struct isan__graph *g, size_t from, uint32_t at, size_t to, void *arg)
{
    struct isan__node *node = &g->nodes[to];
    if (node->op == NULL && (node->found == 0 || node->headed)) {
        node->headed = 1;
        count(g, from, at, to, arg);
    }
}

void
isan__graph_inside(struct isan__graph *g)
{
    /* Removing an item from a list leaves its pointer in the memory. */
    for (size_t i = 0; i < g->n; i++) {
        const char *op = g->nodes[i].op, *items;
        uint64_t n;
        if (op != NULL && shape_of(g, isan__object_type(op))->flags & ISAN__TYPE_LIST) {
            memcpy(&n, op + OB_SIZE, sizeof n);
            memcpy(&items, op + OB_ITEM, sizeof items);
            struct isan__node *node = referred_by(g, (uint64_t)items);
            if (node != NULL && n < 1u << 28) {
                node->limit = (uint32_t)n * 8 + 1;
            }
        }
    }
    for (size_t i = 0; i < g->n; i++) {
        isan__each_reference(g, i, count, NULL);
    }
    for (size_t i = 0; i < g->n; i++) {
        struct isan__node *node = &g->nodes[i];
        if (node->op == NULL && node->found == 0) {
            g->headed[g->n_headed++] = (uint32_t)i;
        }
    }
    for (size_t i = 0; g->n_headed != 0 && i < g->n; i++) {
        isan__each_reference(g, i, count_headed, NULL);
    }
}

static struct isan__external_ref *
new_outside(struct isan__graph *g, int keeper)
{
    if (g->n_outside == MAX_OUTSIDE) {
        return NULL;
    }
    struct isan__external_ref *o = &g->outside[g->n_outside++];
    o->keeper = (uint8_t)keeper;
    return o;
}

/* A static refers to the block. */
static void
hold(struct isan__graph *g, const struct isan_holder *where, char *block, int keeper)
{
    size_t i = isan__table_get(&g->held, (uint64_t)block);
    struct isan__external_ref *o = i ? &g->outside[i - 1] : new_outside(g, keeper);
    if (o != NULL) {
        if (o->count++ == 0) {
            o->holder = *where;
            isan__table_put_or_drop(&g->held, (uint64_t)block, g->n_outside);
        }
    }
}

static void
held(const struct isan_holder *where, char *block, void *g)
{
    /* A single-phase module's dictionary is kept in its definition (Python/import.c). */
    hold(g, where, block, isan__is_module_copy(where->address) ? ISAN__RETAINER_runtime : ISAN__RETAINER_static);
}

void
isan__graph_statics(struct isan__graph *g)
{
    isan__visit_statics_of(g->slot, held, g);
    /* When Python has been finalised, its state holds nothing any more: caches
     * of types and functions still have their addresses. */
    if (isan__interp_of(g->slot)->kind == ISAN_INTERP_MAIN && !g->living) {
        return;
    }
    /* The runtime's state is no variable anybody can move: statics.c leaves it out. */
    for (size_t at = 0; at + 8 <= isan__py.runtime_size; at += 8) {
        uint64_t value;
        memcpy(&value, isan__py.runtime + at, sizeof value);
        const char *to = slot_has(g, value);
        char *block = to ? isan__block_of(to) : NULL;
        if (block != NULL) {
            hold(g, &(struct isan_holder){ .address = (uint64_t)(isan__py.runtime + at) }, block,
                 ISAN__RETAINER_runtime);
        }
    }
}

static bool
refers_to_node(uint64_t value, void *g)
{
    return referred_by(g, value) != NULL;
}

static bool
held_behind(const struct isan__pointer_path *behind, uint64_t value, void *arg)
{
    struct isan__graph *g = arg;
    struct isan__node *node = referred_by(g, value);
    struct isan__external_ref *o = node->outside ? &g->outside[node->outside - 1] : new_outside(g, ISAN__RETAINER_static);
    node->found++;
    if (o != NULL && o->block == NULL && o->count++ == 0) {
        o->holder = behind->holder;
        o->behind = *behind;
        node->outside = (uint32_t)g->n_outside;
    }
    return false;
}

void
isan__graph_behind(struct isan__graph *g)
{
    g->cut_short |= !isan__search_indirect(true, refers_to_node, held_behind, g);
}

bool
isan__is_runtime_memory(struct isan__graph *g, const char *block)
{
    if (!g->process_known) {
        g->process_known = true;
        isan__mark_runtime_reachable(&g->process);
    }
    return isan__table_get(&g->process, (uint64_t)block) != 0;
}

/* Call visit for each aligned word of a block that may be a pointer. */
static void
each_word(struct isan__graph *g, char *block,
          void (*visit)(struct isan__graph *g, char *block, uint32_t at, uint64_t value))
{
    size_t size = isan__block_size(block);
    for (size_t at = 0; at < size; at += WINDOW) {
        size_t n = size - at < WINDOW ? size - at : WINDOW;
        const char *words = copy_of(g, block + at, n);
        if (words == NULL) {
            return;
        }
        for (size_t j = 0; j + 8 <= n; j += 8) {
            uint64_t value;
            memcpy(&value, words + j, sizeof value);
            if (value >= 4096 && value >> 47 == 0) {
                visit(g, block, (uint32_t)(at + j), value);
            }
        }
    }
}

static void
refers(struct isan__graph *g, char *block, uint32_t at, uint64_t value)
{
    struct isan__node *node = referred_by(g, value);
    if (node == NULL) {
        return;
    }
    char *op = isan__object_in(block);
    struct { uint64_t count; const void *type; } head = { 0 };
    if (op != NULL && (!isan__peek(&head, op, sizeof head) || !isan__is_count(head.count)
                       || is_link(g, head.type, block + at - op))) {
        return;
    }
    if (op == NULL && is_hash(block, isan__block_size(block), at, false)) {
        return;
    }
    /* Before 3.12 any interpreter enlarges the dictionaries that all share; hashes
     * in their tables look like pointers (statics.c looks at the keys). */
    if (op != NULL && isan__py.one_gil && head.type == isan__py.dict_type
        && block + at == op + ISAN__MA_KEYS) {
        node->silent = 1;
    }
    int keeper = op == NULL && isan__load_tag(block) & ISAN__RAW && isan__is_runtime_memory(g, block)
        ? ISAN__RETAINER_runtime : ISAN__RETAINER_foreign;
    /* An object tells more than memory, that of another interpreter more than the
     * runtime's, a static more than either. */
    struct isan__external_ref *o = node->outside ? &g->outside[node->outside - 1] : new_outside(g, keeper);
    /* The runtime's memory has many old pointers. */
    node->found += keeper != ISAN__RETAINER_runtime;
    if (o == NULL || (node->outside != 0 && (o->block == NULL || o->op != NULL
                                             || (op == NULL && o->keeper <= keeper)))) {
        return;
    }
    if (node->outside == 0) {
        node->outside = (uint32_t)g->n_outside;
    }
    else if (o->keeper == ISAN__RETAINER_runtime) {
        o->runtime = o->block;
        o->runtime_at = o->at;
    }
    o->keeper = (uint8_t)keeper;
    o->block = block;
    o->op = op;
    o->at = at;
    if (op == NULL && keeper == ISAN__RETAINER_foreign) {
        isan__table_put_or_drop(&g->owners, (uint64_t)block, 1);
    }
}

static void
look_in(char *block, void *arg)
{
    struct isan__graph *g = arg;
    isan__slot_t slot = (isan__slot_t)isan__load_tag(block);
    if (slot != g->slot && !(isan__load_tag(block) & ISAN__FREED)) {
        each_word(g, block, refers);
    }
}

/* What points at memory that refers to a node: an object, or else other memory. */
enum { UNKNOWN = 1, MEMORY = 2 };

static void
owns(struct isan__graph *g, char *block, uint32_t at, uint64_t value)
{
    uint64_t known = value % ISAN__GRANULE == 0 && isan__load_tag((void *)value) & ISAN__START
        ? isan__table_get(&g->owners, value) : 0;
    (void)at;
    if (known == UNKNOWN || known == MEMORY) {
        char *op = isan__object_in(block);
        uint64_t count;
        if (op == NULL || (isan__peek(&count, op, sizeof count) && isan__is_count(count))) {
            isan__table_put_or_drop(&g->owners, value, op ? (uint64_t)op : MEMORY);
        }
    }
}

static void
look_for_owners(char *block, void *arg)
{
    struct isan__graph *g = arg;
    if ((isan__slot_t)isan__load_tag(block) != g->slot) {
        each_word(g, block, owns);
    }
}

/* Is the word that refers to the object still in use?  What a list or dictionary
 * has been enlarged by, or memory that nothing points at, may have what was there
 * before. */
static bool
in_use(struct isan__graph *g, struct isan__external_ref *o)
{
    struct { uint64_t count; const void *type; uint64_t size; const char *items; } list;
    struct isan__keys keys;
    uint64_t by = isan__table_get(&g->owners, (uint64_t)o->block);
    if (by == UNKNOWN || by == MEMORY) {
        return by == MEMORY || isan__find_static_holder(o->block, o->block).address != 0;
    }
    o->by = (char *)by;
    if (!isan__peek(&list, o->by, sizeof list)) {
        return false;
    }
    const struct isan__shape *s = shape_of(g, list.type);
    if (s->flags & ISAN__TYPE_LIST && list.items == o->block) {
        return o->at / 8 < list.size;
    }
    if (s->flags & ISAN__TYPE_DICT && isan__keys_at(&keys, o->block, false)) {
        return o->block + o->at >= keys.entries
            && o->at < (size_t)(keys.entries - o->block) + keys.n * keys.entry_size;
    }
    return true;
}

void
isan__graph_others(struct isan__graph *g)
{
    isan__visit_blocks(0, look_in, g);
    if (g->owners.used == 0) {
        return;
    }
    isan__visit_blocks(0, look_for_owners, g);
    for (size_t i = 0; i < g->n; i++) {
        struct isan__node *node = &g->nodes[i];
        struct isan__external_ref *o = node->outside ? &g->outside[node->outside - 1] : NULL;
        if (o != NULL && o->block != NULL && o->op == NULL && o->keeper == ISAN__RETAINER_foreign
            && !in_use(g, o) && node->op != NULL) {
            node->found--;
            if (o->runtime == NULL) {
                node->outside = 0;
                continue;
            }
            o->keeper = ISAN__RETAINER_runtime;
            o->block = o->runtime;
            o->at = o->runtime_at;
        }
    }
}
