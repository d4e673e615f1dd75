/* The nodes of the graph and the references between them: see refgraph.h.
 *
 * References are found by scanning the words of a block, not by tp_traverse: there is no
 * interpreter to run it in, and a leak is often just what tp_traverse misses.  Links of the
 * garbage collector, weak references, the unused end of a list, and hashes do not count.
 */
#include "runtime/detect/refgraph.h"

#include "runtime/base/check.h"
#include "runtime/base/scan.h"
#include "runtime/detect/gc_visibility.h"

enum { REGION = 1 << 16, BUCKET = 256, PER_REGION = REGION / BUCKET, SHAPES = 1024, BASES = 16 };

/* The first node in each bucket, plus 1, for up to 255 regions. */
struct isan__buckets {
    struct isan__buckets *before;
    uint32_t n, first[255][PER_REGION];
};

/* The words in an instance of a type that are no references. */
struct isan__type_shape {
    const void *type;
    uint32_t scan;                          /* bytes from the object's start that may have references; 0: all */
    int32_t weaklist;                       /* offset of its list of weak references; 0: none */
    unsigned long flags;                    /* tp_flags */
    bool weakref;                           /* it is a weak reference */
};

static const struct isan__type_shape *
shape_of(struct isan__graph *g, const char *type)
{
    struct isan__type_shape *s = &g->shapes[((uintptr_t)type >> 4) % SHAPES];
    if (s->type == type) {
        return s;
    }
    memset(s, 0, sizeof *s);
    s->type = type;
    struct isan__type_object t;
    const void *base = type;
    for (int i = 0; i < BASES && isan__read_type(&t, base); i++, base = t.base) {
        if (i == 0) {
            s->weaklist = (int32_t)t.weaklistoffset;
            s->flags = t.flags;
        }
        s->weakref |= base == isan__py.weakref_type || base == isan__py.proxy_type
            || base == isan__py.callable_proxy_type;
    }
    /* Text and numbers are no pointers, even if they look like some. */
    s->scan = type == isan__py.unicode_type ? isan__py.unicode_ascii + isan__py.unicode_header + 8u
        : type == isan__py.bytes_type ? isan__py.bytes_data
        : type == isan__py.long_type || type == isan__py.float_type ? ISAN__OB_HEAD
        : type == isan__py.code_type ? isan__py.code_units      /* what its instructions cache is borrowed */
        : 0;
    return s;
}

bool
isan__graph_type_has(struct isan__graph *g, const void *op, unsigned long flag)
{
    return op != NULL && shape_of(g, isan__object_type(op))->flags & flag;
}

bool
isan__graph_is_link(struct isan__graph *g, const void *type, ptrdiff_t at)
{
    if (at < 0 && at >= ISAN__GC_NEXT) {
        return true;                        /* PyGC_Head */
    }
    const struct isan__type_shape *s = shape_of(g, type);
    return (s->weaklist != 0 && at == s->weaklist)
        || (s->weakref && (at == ISAN__WR_OBJECT || at == ISAN__WR_PREV || at == ISAN__WR_NEXT))
        || (s->scan != 0 && at >= (ptrdiff_t)s->scan);
}

/* --- nodes ----------------------------------------------------------------------------- */

bool
isan__graph_begin(struct isan__graph *g, isan__slot_t slot, bool living, size_t room)
{
    memset(g, 0, sizeof *g);
    g->slot = slot;
    g->living = living;
    g->room = room;
    g->regions.unlocked = g->static_refs.unlocked = g->runtime_memory.unlocked = g->pointed_by.unlocked = true;
    g->nodes = isan__map(room * sizeof *g->nodes);
    g->interior_targets = isan__map(room * sizeof *g->interior_targets);
    g->external_refs = isan__map(ISAN__GRAPH_MAX_EXTERNAL * sizeof *g->external_refs);
    g->window = isan__map(ISAN__GRAPH_WINDOW);
    g->shapes = isan__map(SHAPES * sizeof *g->shapes);
    return g->nodes != NULL && g->interior_targets != NULL && g->external_refs != NULL && g->window != NULL
        && g->shapes != NULL;
}

void
isan__graph_end(struct isan__graph *g)
{
    isan__unmap(g->nodes, g->room * sizeof *g->nodes);
    isan__unmap(g->interior_targets, g->room * sizeof *g->interior_targets);
    isan__unmap(g->external_refs, ISAN__GRAPH_MAX_EXTERNAL * sizeof *g->external_refs);
    isan__unmap(g->window, ISAN__GRAPH_WINDOW);
    isan__unmap(g->shapes, SHAPES * sizeof *g->shapes);
    for (struct isan__buckets *before; g->buckets != NULL; g->buckets = before) {
        before = g->buckets->before;
        isan__unmap(g->buckets, sizeof *g->buckets);
    }
    isan__table_clear(&g->regions);
    isan__table_clear(&g->static_refs);
    isan__table_clear(&g->runtime_memory);
    isan__table_clear(&g->pointed_by);
}

/* Buckets for one more region; NULL: no memory. */
static uint32_t *
new_buckets(struct isan__graph *g)
{
    if (g->buckets == NULL || g->buckets->n == sizeof g->buckets->first / sizeof *g->buckets->first) {
        struct isan__buckets *more = isan__map(sizeof *more);
        if (more == NULL) {
            return NULL;
        }
        more->before = g->buckets;
        g->buckets = more;
    }
    return g->buckets->first[g->buckets->n++];
}

/* The bucket of an address; NULL: no node is near it, or no memory for one. */
static uint32_t *
bucket_of(struct isan__graph *g, const char *p, bool make)
{
    uint64_t region = (uintptr_t)p / REGION;
    if (region != g->region) {
        uint32_t *first = (uint32_t *)isan__table_get(&g->regions, region);
        if (first == NULL && make && (first = new_buckets(g)) != NULL) {
            isan__table_put_or_drop(&g->regions, region, (uint64_t)first);
        }
        if (first == NULL) {
            return NULL;
        }
        g->region = region;
        g->first = first;
    }
    return &g->first[(uintptr_t)p % REGION / BUCKET];
}

/* Does node i begin after the end of the one before it?  Any thread may free raw memory of a living
 * interpreter, which then has no size. */
static bool
is_in_order(const struct isan__graph *g, size_t i)
{
    if (i == 0) {
        return true;
    }
    const char *before = g->nodes[i - 1].start;
    return before < g->nodes[i].start
        && (g->living || before + isan__block_size(before) <= g->nodes[i].start);
}

bool
isan__graph_is_consistent(const struct isan__graph *g)
{
    for (size_t i = 0; i < g->n; i++) {
        if (!is_in_order(g, i) || g->nodes[i].external_ref > g->n_external_refs) {
            return false;
        }
    }
    return true;
}

/* An object in a free list still has its old pointers.  Where objects have no marks (core/block.h),
 * isan__object_in() does not find it, as its count is 0. */
static bool
is_in_free_list(const struct isan__graph *g, const char *block, const char *op)
{
    size_t size = isan__block_size(block), before = 0;
    bool unmarked = isan__stock && !isan__interp_of(g->slot)->marked && !(isan__load_tag(block) & ISAN__RAW);
    for (; op == NULL && unmarked && before <= 2 * ISAN__GRANULE && before < size; before += ISAN__GRANULE) {
        op = isan__is_object(block + before, size - before, true, true) ? block + before : NULL;
    }
    return op != NULL && isan__reference_count(op) == 0;
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
    node->external_ref = (uint32_t)isan__table_get(&g->static_refs, (uint64_t)block);
    node->n_refs = node->external_ref ? g->external_refs[node->external_ref - 1].count : 0;
    node->no_outgoing = g->living && is_in_free_list(g, block, op);
    ISAN__ASSERT(is_in_order(g, g->n - 1));
    return true;
}

/* A reference is to a block's start or to its object. */
struct isan__node *
isan__graph_node(struct isan__graph *g, const void *p)
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

/* --- what a word refers to -------------------------------------------------------------- */

const char *
isan__graph_target(const struct isan__graph *g, uint64_t word)
{
    if (!isan__is_user_address(word)) {
        return NULL;
    }
    const char *to = (const char *)word;
    if (word % ISAN__GRANULE != 0) {
        to = isan__py.values_prefixed ? isan__prefixed_values_block(word) : NULL;
        if (to == NULL || (uintptr_t)to % ISAN__GRANULE != 0 || !(isan__load_tag(to) & ISAN__START)) {
            return NULL;
        }
    }
    uint32_t tag = isan__load_tag(to);
    return (isan__slot_t)tag == g->slot && isan__may_start_object(tag) ? to : NULL;
}

struct isan__node *
isan__graph_referred_node(struct isan__graph *g, uint64_t word)
{
    /* Words below all nodes are numbers, such as the versions of dictionaries.  Loading the tag of
     * each would touch another page of tags. */
    if (g->n == 0 || word < (uint64_t)g->nodes[0].start) {
        return NULL;
    }
    const char *to = isan__graph_target(g, word);
    return to != NULL ? isan__graph_node(g, to) : NULL;
}

/* The raw memory that the word points into, if nothing points at its start.  Only words of objects
 * count: memory that was never filled has all sorts of pointers. */
static struct isan__node *
interior_target(struct isan__graph *g, uint64_t word)
{
    size_t low = 0, high = g->n_interior_targets;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uint64_t)g->nodes[g->interior_targets[middle]].start <= word) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    struct isan__node *node = low == 0 ? NULL : &g->nodes[g->interior_targets[low - 1]];
    return node != NULL && word - (uint64_t)node->start < isan__block_size(node->start) ? node : NULL;
}

/* Copies as much at once as is mapped, since each copy takes a system call. */
const char *
isan__graph_copy(struct isan__graph *g, const char *from, size_t size)
{
    size_t into = (size_t)(from - g->window_from);
    if (from < g->window_from || into + size > g->window_size) {
        size_t all = ISAN__GRAPH_WINDOW;
        g->window_size = 0;                 /* a copy that fails may have overwritten part of it */
        /* The memory after it may not be mapped. */
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

/* --- references between nodes ------------------------------------------------------------- */

struct node_scan {
    struct isan__graph *g;
    size_t i, size;                         /* the node, and how much of it is scanned */
    const char *start, *op;
    bool stable;
    isan__edge_visitor *visit;
    void *arg;
};

static bool
visit_word(size_t at, uint64_t word, void *arg)
{
    struct node_scan *scan = arg;
    struct isan__graph *g = scan->g;
    const struct isan__node *to = isan__graph_referred_node(g, word);
    if (to == NULL && scan->op != NULL && g->n_interior_targets != 0) {
        to = interior_target(g, word);
    }
    if (to != NULL
        && (scan->op ? !isan__graph_is_link(g, isan__object_type(scan->op), scan->start + at - scan->op)
            : !isan__is_dict_hash(scan->start, scan->size, at, scan->stable)
                && !isan__is_free_list_entry(isan__interp_of(g->slot)->interp, scan->start + at))) {
        scan->visit(g, scan->i, (uint32_t)at, (size_t)(to - g->nodes), scan->arg);
    }
    return true;
}

/* How much of the node is scanned. */
static size_t
scan_size(struct isan__graph *g, const struct isan__node *node)
{
    size_t size = isan__block_size(node->start);
    if (node->scan_limit != 0 && node->scan_limit - 1 < size) {
        size = node->scan_limit - 1;
    }
    if (node->op != NULL) {
        const struct isan__type_shape *s = shape_of(g, isan__object_type(node->op));
        size_t end = (size_t)(node->op - node->start) + s->scan;
        size = s->scan != 0 && end < size ? end : size;
    }
    return size;
}

void
isan__graph_visit_refs(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg)
{
    const struct isan__node *node = &g->nodes[i];
    if (node->no_outgoing) {
        return;
    }
    struct node_scan scan = {
        .g = g, .i = i, .size = scan_size(g, node), .start = node->start, .op = node->op,
        /* Any thread may free raw memory of a living interpreter: that needs no GIL. */
        .stable = !g->living || node->op != NULL || !(isan__load_tag(node->start) & ISAN__RAW),
        .visit = visit, .arg = arg,
    };
    if (scan.stable) {
        isan__scan_words(node->start, scan.size, 0, visit_word, &scan);
        return;
    }
    for (size_t at = 0; at < scan.size; at += ISAN__GRAPH_WINDOW) {
        size_t n = scan.size - at < ISAN__GRAPH_WINDOW ? scan.size - at : ISAN__GRAPH_WINDOW;
        const char *words = isan__graph_copy(g, node->start + at, n);
        if (words == NULL) {
            return;
        }
        isan__scan_words(words, n, at, visit_word, &scan);
    }
}

/* The object has the head of the linked list of its weak references. */
void
isan__graph_visit_weakrefs(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg)
{
    enum { MAX_WEAKREFS = 1 << 16 };
    const struct isan__node *node = &g->nodes[i];
    const struct isan__type_shape *s = node->op ? shape_of(g, isan__object_type(node->op)) : NULL;
    ptrdiff_t before = node->op - node->start;
    uint64_t word;
    if (s == NULL || s->weaklist == 0 || before + s->weaklist < 0
        || (size_t)(before + s->weaklist) + sizeof word > isan__block_size(node->start)) {
        return;
    }
    uint32_t at = (uint32_t)(before + s->weaklist);
    memcpy(&word, node->start + at, sizeof word);
    for (int n = 0; n < MAX_WEAKREFS; n++) {
        const struct isan__node *weak = isan__graph_referred_node(g, word);
        if (weak == NULL || weak->op == NULL || !shape_of(g, isan__object_type(weak->op))->weakref) {
            return;
        }
        visit(g, i, at, (size_t)(weak - g->nodes), arg);
        memcpy(&word, weak->op + ISAN__WR_NEXT, sizeof word);
    }
}

bool
isan__graph_is_weakref(struct isan__graph *g, size_t i)
{
    const char *op = g->nodes[i].op;
    uint64_t word;
    if (op == NULL || !shape_of(g, isan__object_type(op))->weakref) {
        return false;
    }
    memcpy(&word, op + ISAN__WR_OBJECT, sizeof word);
    return isan__graph_referred_node(g, word) != NULL;
}

static void
count_ref(struct isan__graph *g, size_t from, uint32_t at, size_t to, void *arg)
{
    (void)at;
    (void)arg;
    g->nodes[to].n_refs++;
    g->nodes[to].n_self_refs += from == to;
    g->nodes[to].has_incoming |= from != to;
}

static void
count_interior_ref(struct isan__graph *g, size_t from, uint32_t at, size_t to, void *arg)
{
    struct isan__node *node = &g->nodes[to];
    if (node->op == NULL && (node->n_refs == 0 || node->interior_target)) {
        node->interior_target = 1;
        count_ref(g, from, at, to, arg);
    }
}

/* Removing an item from a list leaves its pointer in the memory after the items. */
static void
limit_list_items(struct isan__graph *g)
{
    enum { MAX_ITEMS = 1 << 28 };
    for (size_t i = 0; i < g->n; i++) {
        const char *op = g->nodes[i].op;
        if (isan__graph_type_has(g, op, ISAN__TYPE_LIST)) {
            uint64_t n;
            struct isan__node *node = isan__graph_referred_node(g, (uint64_t)isan__list_items(op, &n));
            if (node != NULL && n < MAX_ITEMS) {
                node->scan_limit = (uint32_t)(n * sizeof(void *)) + 1;
            }
        }
    }
}

void
isan__graph_count_refs(struct isan__graph *g)
{
    limit_list_items(g);
    for (size_t i = 0; i < g->n; i++) {
        isan__graph_visit_refs(g, i, count_ref, NULL);
    }
    for (size_t i = 0; i < g->n; i++) {
        struct isan__node *node = &g->nodes[i];
        if (node->op == NULL && node->n_refs == 0) {
            g->interior_targets[g->n_interior_targets++] = (uint32_t)i;
        }
    }
    for (size_t i = 0; g->n_interior_targets != 0 && i < g->n; i++) {
        isan__graph_visit_refs(g, i, count_interior_ref, NULL);
    }
}
