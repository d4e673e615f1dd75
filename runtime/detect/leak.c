/* What an interpreter left behind, when its memory has just been given back
 * (Python/pystate.c, free_interpreter), or what a living one owns.
 *
 * Its blocks refer to each other (graph.c); a leak is a block that something
 * outside refers to - a static first of all - or that nothing refers to, or
 * that has more references than were found, or one of a cycle.  What such a
 * root keeps alive is only counted with it.  The roots are grouped by type,
 * creation site and what keeps them.
 *
 * While the interpreter lives, references that nothing explains are its own, from
 * frames and C code: the collector's way to tell (Python/gc.c, subtract_refs).
 * Then what only a static or another interpreter keeps is told apart from that,
 * and garbage, but no missing Py_DECREF and no memory that was not freed.
 */
#include "runtime/detect/leak.h"

#include "runtime/base/options.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/finding.h"
#include "runtime/core/stack.h"
#include "runtime/cpython/reference_name.h"
#include "runtime/detect/gc_visibility.h"
#include "runtime/detect/refgraph.h"
#include "runtime/detect/static_scan.h"

enum { MAX_PAIRS = 16, MAX_GROUPS = 1 << 16, MAX_KEPT = 1 << 18, MAX_STEPS = 24 };

struct group {
    struct isan_object sample;
    uint64_t count, bytes, kept, kept_bytes, extra;
    struct isan__external_ref outside;
    uint32_t id, residue, keeper, raw, n_paired;
    uint32_t root, target;                  /* nodes: a sample, and one of those it keeps, + 1 */
    uint32_t types;                         /* the last of its own in kept[], + 1 */
    uint32_t pairs[2 * MAX_PAIRS];
    char type[128];
};

/* What a group keeps alive of one type. */
struct kept {
    const void *type;                       /* NULL: raw memory */
    uint64_t count, bytes;
    uint32_t first, next;                   /* the first node met, + 1; another entry of the group, + 1 */
};

struct analysis {
    struct isan__graph graph;
    uint32_t *queue;                        /* as many as nodes */
    size_t queued;
    struct group *groups;
    size_t n;
    struct kept *kept;
    size_t n_kept;
    uint32_t left, overflow, look;          /* look: 0: it has ended */
    struct isan__table index;               /* key -> index in groups + 1 */
    struct isan__table kept_index;          /* key -> index in kept + 1 */
    struct isan__table explained;           /* reasons given, by group */
    bool wrapped;                           /* tracemalloc is on */
    bool leads_on;                          /* see suspicion() */
    struct { const void *type; char name[128]; } names[256];
};

/* "": raw memory.  The block is tagged, so it is there; its type need not be. */
static const char *
type_name(struct analysis *a, const char *op)
{
    if (op == NULL) {
        return "";
    }
    const void *type = isan__object_type(op);
    size_t i = ((uintptr_t)type >> 4) % 256;
    if (a->names[i].type != type) {
        if (!isan__type_name(op, a->names[i].name, sizeof a->names[i].name)) {
            strcpy(a->names[i].name, "?");
        }
        a->names[i].type = type;
    }
    return a->names[i].name;
}

bool (*isan__allocator_is_wrapped)(void);
static const struct isan__external_ref nothing;

static const struct isan__external_ref *
outside(const struct analysis *a, const struct isan__node *node)
{
    return node->outside ? &a->graph.outside[node->outside - 1] : &nothing;
}

/* References that nothing explains; an immortal object has no count. */
static uint32_t
extra(const struct isan__node *node)
{
    uint32_t count = node->op ? isan__reference_count(node->op) : 0;
    return (int32_t)count > 0 && count > node->found ? count - node->found : 0;
}

/* The group of a block: made if it is the first of its kind. */
static struct group *
group_of(struct analysis *a, char *block, char *op, const struct isan__external_ref *by, uint32_t keeper,
         uint32_t residue)
{
    struct isan_object o;
    uint32_t raw = isan__load_tag(block) & ISAN__RAW;
    const char *type = type_name(a, op);
    isan__describe_object(&o, op ? op : block, block);
    struct {
        uint64_t holder, tls, by;
        uint32_t origin, flags, residue, raw, keeper, by_origin;
    } key = { .residue = residue, .raw = raw };
    if (residue == ISAN__RESIDUE_none) {
        key.holder = by->holder.address;
        key.tls = by->holder.tls;
        key.origin = o.origin;
        key.flags = o.flags & (ISAN_OBJ_OBJECT | ISAN_OBJ_ORIGIN_STACK);
        key.keeper = keeper;
        if (by->block != NULL) {
            struct isan_object other;
            char *of = by->op ? by->op : by->by;
            isan__describe_object(&other, of ? of : by->block, of ? isan__block_of(of) : by->block);
            key.by_origin = other.origin;
            isan__peek(&key.by, of ? of + 8 : NULL, sizeof key.by);
        }
    }
    uint64_t hash = isan__hash(type, strlen(type), isan__hash(&key, sizeof key, 0)) | 1;
    size_t i = isan__table_get(&a->index, hash);
    if (i == 0) {
        if (a->n == MAX_GROUPS) {
            a->overflow++;
            return NULL;
        }
        i = ++a->n;
        isan__table_put_or_drop(&a->index, hash, i);
        struct group *g = &a->groups[i - 1];
        g->id = isan__next_finding_id();
        g->sample = o;
        g->outside = *by;
        g->residue = residue;
        g->keeper = keeper;
        g->raw = raw;
        strcpy(g->type, type);
    }
    return &a->groups[i - 1];
}

/* The findings about a block go with the group it is counted in. */
static void
pair(struct group *g, char *block, bool root)
{
    uint32_t serial = isan__noted_serial(block), ids[8];
    int n = serial ? isan__findings_of_object(serial, ids, 8) : 0;
    if (n > 0 && root && g->n_paired == 0) {
        /* The sample is the one the report can tell most of. */
        isan__describe_object(&g->sample, (void *)(uintptr_t)(g->sample.flags & ISAN_OBJ_OBJECT
            ? isan__object_in(block) : block), block);
    }
    for (int i = 0; i < n && g->n_paired < MAX_PAIRS; i++) {
        g->pairs[2 * g->n_paired] = serial;
        g->pairs[2 * g->n_paired + 1] = ids[i];
        g->n_paired++;
    }
}

/* Is the interned string at `block` held by a static?  Names that the runtime's
 * caches of types keep do not count where its dictionary of them is the main
 * interpreter's, too. */
static bool
interned_is_held(struct analysis *a, const char *block)
{
    size_t i = isan__table_get(&a->graph.held, (uint64_t)block);
    return i != 0 && !(isan__interp_of(a->graph.slot)->shares_main
                       && isan__runtime_has(a->graph.outside[i - 1].holder.address));
}

/* Step 1: every block left.  What is the runtime's own is done with here. */
static void
collect(char *block, void *arg)
{
    struct analysis *a = arg;
    uint32_t word = isan__load_tag(block), residue = ISAN__RESIDUE_none;
    a->left++;
    if (word & ISAN__FREED) {
        return;                             /* quarantined: properly freed */
    }
    char *op = isan__object_in(block);
    if (op != NULL) {
        struct isan_object o;
        isan__describe_object(&o, op, block);
        if (o.flags & ISAN_OBJ_INTERNED && !interned_is_held(a, block)) {
            residue = ISAN__RESIDUE_interned;
        }
    }
    else if (word & ISAN__RAW && a->wrapped) {
        residue = ISAN__RESIDUE_tracemalloc;
    }
    else if (word & ISAN__RAW && isan__is_declared_shared(block)) {
        residue = ISAN__RESIDUE_shared;
    }
    else if (word & ISAN__RAW && isan__is_runtime_memory(&a->graph, block)) {
        residue = ISAN__RESIDUE_process;
    }
    if (residue != ISAN__RESIDUE_none || !isan__graph_add(&a->graph, block, op)) {
        struct group *g = group_of(a, block, op, &nothing, ISAN__RETAINER_runtime, residue);
        if (g != NULL) {
            g->count++;
            g->bytes += isan__block_size(block);
        }
    }
}

static void
note_collectable(struct isan__graph *graph, size_t from, uint32_t at, size_t to, void *arg)
{
    struct analysis *a = arg;
    (void)at;
    a->leads_on |= from != to && isan__type_has(graph, graph->nodes[to].op, ISAN__TYPE_HAVE_GC);
}

/* How likely it is that node i is why its cycle is there, 0 most: the garbage
 * collector cannot see through an object of an extension whose type takes no
 * part; then an object that can be in a cycle; what else seems to be in one
 * has an old pointer in it. */
static int
suspicion(struct analysis *a, size_t i)
{
    const char *op = a->graph.nodes[i].op;
    if (op == NULL || isan__type_has(&a->graph, op, ISAN__TYPE_HAVE_GC)) {
        return op == NULL ? 2 : 1;
    }
    a->leads_on = false;
    if (!isan__runtime_has((uint64_t)isan__object_type(op))) {
        isan__each_reference(&a->graph, i, note_collectable, a);
    }
    return a->leads_on ? 0 : 2;
}

/* Why what node i is a root of is the runtime's, if it is. */
static uint32_t
residue_of(struct analysis *a, const struct isan__node *node)
{
    const struct isan__external_ref *by = outside(a, node);
    bool of_runtime = isan__runtime_has(by->holder.address)
        || (by->holder.address != 0 && node->op != NULL
            && isan__is_arg_parser_cache(by->holder.address, node->op));
    bool at_exit = isan__interp_of(a->graph.slot)->kind == ISAN_INTERP_MAIN && a->look == 0;
    return at_exit && by->holder.address != 0 ? ISAN__RESIDUE_statics
        : isan__py.one_gil && of_runtime ? ISAN__RESIDUE_runtime
        : a->wrapped && by->holder.address == 0 && node->op && isan__is_str(node->op) ? ISAN__RESIDUE_tracemalloc
        : isan__py.one_gil && by->block != NULL && node->op == NULL ? ISAN__RESIDUE_one_heap
        : node->op == NULL && isan__interp_of(a->graph.slot)->shares_main
          && isan__is_interned_table(node->start, isan__block_size(node->start)) ? ISAN__RESIDUE_interned
        : ISAN__RESIDUE_none;
}

static void
claim(struct isan__graph *graph, size_t from, uint32_t at, size_t to, void *arg)
{
    struct analysis *a = arg;
    struct isan__node *node = &graph->nodes[to];
    if (!node->claimed) {
        node->claimed = 1;
        node->parent = (uint32_t)from;
        node->at = at;
        node->through = graph->nodes[from].through
            || isan__type_has(graph, graph->nodes[from].op, ISAN__TYPE_TYPE);
        a->queue[a->queued++] = (uint32_t)to;
    }
}

static void
keep(struct analysis *a, struct group *g, size_t i)
{
    const struct isan__node *node = &a->graph.nodes[i];
    uint64_t size = isan__block_size(node->start);
    struct { uint64_t type; uint64_t group; } key = {
        node->op ? (uint64_t)isan__object_type(node->op) : 0, (uint64_t)(g - a->groups),
    };
    uint64_t hash = isan__table_key(ISAN__KEY_HASH, &key, sizeof key);
    size_t k = isan__table_get(&a->kept_index, hash);
    g->kept++;
    g->kept_bytes += size;
    if (k == 0) {
        if (a->n_kept == MAX_KEPT) {
            return;
        }
        k = ++a->n_kept;
        isan__table_put_or_drop(&a->kept_index, hash, k);
        a->kept[k - 1] = (struct kept){ .type = (void *)key.type, .first = (uint32_t)i + 1, .next = g->types };
        g->types = (uint32_t)k;
    }
    a->kept[k - 1].count++;
    a->kept[k - 1].bytes += size;
}

/* Nothing refers to the block now.  Did a static when that was looked at last, or
 * did another interpreter free it, which isan has kept it from? */
static uint32_t
without_reference(struct isan__node *node)
{
    uint32_t serial = isan__noted_serial(node->start), ids[8];
    int n = serial ? isan__findings_of_object(serial, ids, 8) : 0;
    uint32_t keeper = node->op ? ISAN__RETAINER_reference : ISAN__RETAINER_memory;
    for (int i = 0; i < n; i++) {
        int kind = isan__finding_kind(ids[i]);
        if (kind == ISAN__KIND_free) {
            return ISAN__RETAINER_given_up;
        }
        keeper = kind == ISAN__KIND_static && node->op != NULL ? ISAN__RETAINER_replaced : keeper;
    }
    return keeper;
}

/* Step 2: node i is a root; all it leads to is counted with it. */
static struct group *
root(struct analysis *a, size_t i, uint32_t keeper)
{
    struct isan__node *node = &a->graph.nodes[i];
    const struct isan__external_ref *by = keeper == ISAN__RETAINER_cycle ? &nothing : outside(a, node);
    if (by->keeper != ISAN__RETAINER_unknown) {
        keeper = by->keeper;
    }
    else if (keeper == ISAN__RETAINER_reference) {
        keeper = without_reference(node);
    }
    struct group *g = group_of(a, node->start, node->op, by, keeper, residue_of(a, node));
    a->queued = 0;
    claim(&a->graph, i, 0, i, a);
    if (g != NULL && g->root == 0) {
        g->root = (uint32_t)i + 1;
    }
    for (size_t next = 0; next < a->queued; next++) {
        size_t j = a->queue[next];
        char *block = a->graph.nodes[j].start;
        if (g != NULL && j == i) {
            g->count++;
            g->bytes += isan__block_size(block);
            g->extra += extra(node);
        }
        else if (g != NULL) {
            keep(a, g, j);
        }
        if (g != NULL && a->look == 0) {
            pair(g, block, j == i);
            isan__block_leaked(block, g->id);
        }
        isan__each_reference(&a->graph, j, claim, a);
        isan__each_weak(&a->graph, j, claim, a);
    }
    return g;
}

static size_t
append(char *text, size_t at, const char *string)
{
    strcpy(text + at, string);
    return at + strlen(string) + 1;
}

static uint32_t
references_to(const void *op, void *arg)
{
    struct analysis *a = arg;
    const struct isan__node *node = isan__node_at(&a->graph, op);
    return node ? node->found - node->own : 0;
}

static bool
record_reason(struct analysis *a, const struct group *g, const struct isan__gc_reason *why)
{
    uint64_t of[3] = { g->id, why->reason, why->offset };
    uint64_t key = isan__hash(why->type, strlen(why->type), isan__hash(of, sizeof of, 0)) | 1;
    if (isan__table_get(&a->explained, key) != 0) {
        return true;
    }
    struct isan_rec_reason *r = isan__log_reserve(
        sizeof *r + strlen(why->type) + strlen(why->target) + strlen(why->member) + 3);
    if (r == NULL) {
        return false;
    }
    isan__table_put_or_drop(&a->explained, key, 1);
    r->leak = g->id;
    r->reason = why->reason;
    r->basicsize = why->basicsize;
    r->pad = 0;
    r->offset = why->offset;
    r->code = why->code;
    append(r->text, append(r->text, append(r->text, 0, why->type), why->target), why->member);
    isan__log_publish(r, ISAN_REC_REASON);
    return true;
}

/* Why the collector could not clear the cycle whose root was looked at last.
 * Without tp_clear, or resurrected, an object is a reason only if nothing else
 * is: the collector clears the others, and that is mostly enough. */
static void
explain(struct analysis *a, const struct group *g)
{
    enum { MAX_REASONS = 8, MAX_ASKED = 4096 };
    bool found = false;
    for (int last = 0; last < 2 && !found; last++) {
        for (size_t next = 0; next < a->queued && next < MAX_ASKED; next++) {
            struct isan__gc_reason why[MAX_REASONS];
            const char *op = a->graph.nodes[a->queue[next]].op;
            int n = op == NULL ? 0 : isan__gc_reasons(op, references_to, a, why, MAX_REASONS);
            for (int i = 0; i < n; i++) {
                bool weak = why[i].reason == ISAN__REASON_no_clear
                    || why[i].reason == ISAN__REASON_resurrected;
                found |= weak == last && record_reason(a, g, &why[i]);
            }
        }
    }
}

/* Every node that is not claimed yet, and of which `is` is true, is a root; what
 * is outside keeps it if that refers to it, but for a cycle. */
static void
roots(struct analysis *a, uint32_t keeper, bool (*is)(struct analysis *a, size_t i))
{
    for (size_t i = 0; i < a->graph.n; i++) {
        if (!a->graph.nodes[i].claimed && is(a, i)) {
            struct group *g = root(a, i, keeper);
            if (keeper == ISAN__RETAINER_cycle && g != NULL) {
                explain(a, g);
            }
        }
    }
}

/* Do the references to the object need the one from outside?  Else that one is
 * borrowed, or an old pointer to what was there before. */
static bool
needs_outside(struct analysis *a, const struct isan__node *node)
{
    const struct isan__external_ref *by = outside(a, node);
    uint32_t count = node->op ? isan__reference_count(node->op) : 0;
    uint32_t counted = by->block == NULL ? by->count : by->keeper != ISAN__RETAINER_runtime;
    return (int32_t)count <= 0 || count + counted > node->found;
}

static bool
is_held_for_sure(struct analysis *a, size_t i)
{
    const struct isan__node *node = &a->graph.nodes[i];
    return outside(a, node)->holder.address != 0 && needs_outside(a, node);
}

static bool
is_outside_for_sure(struct analysis *a, size_t i)
{
    const struct isan__node *node = &a->graph.nodes[i];
    return node->outside != 0 && needs_outside(a, node) && !isan__weak_of(&a->graph, i);
}

/* Weak references are counted with what they refer to, if that was left too. */
static bool
is_outside(struct analysis *a, size_t i)
{
    return a->graph.nodes[i].outside != 0 && !isan__weak_of(&a->graph, i);
}

static bool
is_alone(struct analysis *a, size_t i)
{
    return !a->graph.nodes[i].referred && !isan__weak_of(&a->graph, i);
}

/* What made it, a type or module, is referred to in more ways than an instance. */
static bool
has_extra(struct analysis *a, size_t i)
{
    const char *op = a->graph.nodes[i].op;
    return extra(&a->graph.nodes[i]) != 0 && !isan__type_has(&a->graph, op, ISAN__TYPE_TYPE);
}

static bool
has_extra_type(struct analysis *a, size_t i)
{
    return extra(&a->graph.nodes[i]) != 0;
}

static bool
is_to_blame(struct analysis *a, size_t i)
{
    struct isan__gc_reason why;
    const char *op = a->graph.nodes[i].op;
    return op != NULL && isan__gc_reasons(op, references_to, a, &why, 1) > 0;
}

static bool
is_suspicious(struct analysis *a, size_t i)
{
    return suspicion(a, i) == 0;
}

static bool
can_cycle(struct analysis *a, size_t i)
{
    return suspicion(a, i) == 1;
}

static bool
is_left(struct analysis *a, size_t i)
{
    (void)a;
    (void)i;
    return true;
}

/* Of a living interpreter: what has references of its own, or might have. */
static bool
is_own(const struct isan__node *node)
{
    return node->op == NULL ? node->found == 0
        : (int32_t)isan__reference_count(node->op) <= 0 || extra(node) != 0;
}

/* All that the interpreter itself keeps is one group. */
static void
own(struct analysis *a)
{
    struct group *g = &a->groups[a->n++];
    g->id = isan__next_finding_id();
    g->keeper = ISAN__RETAINER_interpreter;
    g->sample.owner = isan__interp_of(a->graph.slot)->serial;
    a->queued = 0;
    for (size_t i = 0; i < a->graph.n; i++) {
        if (is_own(&a->graph.nodes[i])) {
            claim(&a->graph, i, 0, i, a);
        }
    }
    for (size_t next = 0; next < a->queued; next++) {
        keep(a, g, a->queue[next]);
        isan__each_reference(&a->graph, a->queue[next], claim, a);
        isan__each_weak(&a->graph, a->queue[next], claim, a);
    }
}

/* --- records ------------------------------------------------------------------------ */

static void
describe(struct isan_object *o, const char *op, char *block)
{
    if (block == NULL) {
        memset(o, 0, sizeof *o);
        return;
    }
    isan__describe_object(o, op ? op : block, block);
}

/* op NULL: raw memory, in `block`. */
static void
step(struct analysis *a, uint32_t leak, uint32_t position, char *from_op, char *from_block,
     char *memory, ptrdiff_t at, char *to_op, char *to_block)
{
    struct isan__reference_name edge;
    char from[128] = "", to[128];
    if (from_op != NULL && !isan__type_name(from_op, from, sizeof from)) {
        strcpy(from, "?");
    }
    strcpy(to, type_name(a, to_op));
    isan__name_reference(from_op, memory, at, &edge);
    size_t text = strlen(from) + strlen(to) + strlen(edge.label) + strlen(edge.member) + 4;
    struct isan_rec_step *r = isan__log_reserve(sizeof *r + text);
    if (r == NULL) {
        return;
    }
    r->leak = leak;
    r->position = position;
    describe(&r->from, from_op, from_block);
    describe(&r->to, to_op, to_block);
    r->edge = edge.edge;
    r->basicsize = edge.basicsize;
    r->offset = edge.offset;
    r->code = edge.code;
    append(r->text, append(r->text, append(r->text, append(r->text, 0, from), to), edge.label), edge.member);
    isan__log_publish(r, ISAN_REC_STEP);
}

/* The way from the group's sample to one of what it keeps.  Memory on it is
 * that of the object before. */
static void
way(struct analysis *a, const struct group *g)
{
    uint32_t path[MAX_STEPS] = { 0 }, n = 0, position = 1;
    const struct isan__node *nodes = a->graph.nodes;
    for (uint32_t i = g->target; i - 1 != g->root - 1; i = nodes[i - 1].parent + 1) {
        if (n == MAX_STEPS) {
            return;
        }
        path[n++] = i - 1;
    }
    const struct isan__node *from = &nodes[g->root - 1];
    while (n-- > 0) {
        const struct isan__node *to = &nodes[path[n]], *before = &nodes[to->parent];
        if (to->op == NULL && n != 0) {
            continue;
        }
        /* Within an object from its start. */
        bool direct = before == from;
        step(a, g->id, position++, from->op, from->start, direct && from->op ? NULL : before->start,
             direct && from->op ? from->start + to->at - from->op : (ptrdiff_t)to->at, to->op, to->start);
        from = to;
    }
}

static void
keeper(struct analysis *a, const struct group *g)
{
    const struct isan__external_ref *by = &g->outside;
    const struct isan__node *node = &a->graph.nodes[g->root - 1];
    if (by->block == NULL) {
        return;
    }
    if (by->op != NULL) {
        step(a, g->id, 0, by->op, by->block, NULL, by->block + by->at - by->op, node->op, node->start);
    }
    else {
        step(a, g->id, 0, by->by, by->by ? isan__block_of(by->by) : by->block, by->block, by->at,
             node->op, node->start);
    }
}

/* By type, most bytes first; and which is the sample. */
static void
kept(struct analysis *a, struct group *g)
{
    for (int i = 0; g->types != 0 && i < 100; i++) {
        uint32_t *most = NULL;
        for (uint32_t *k = &g->types; *k != 0; k = &a->kept[*k - 1].next) {
            if (most == NULL || a->kept[*k - 1].bytes > a->kept[*most - 1].bytes) {
                most = k;
            }
        }
        const struct kept *k = &a->kept[*most - 1];
        const struct isan__node *node = &a->graph.nodes[k->first - 1];
        const char *name = type_name(a, node->op);
        struct isan_rec_kept *r = isan__log_reserve(sizeof *r + strlen(name) + 1);
        if (r == NULL) {
            return;
        }
        r->leak = g->id;
        r->pad = 0;
        r->count = k->count;
        r->bytes = k->bytes;
        strcpy(r->text, name);
        isan__log_publish(r, ISAN_REC_KEPT);
        /* What a class is made of says little. */
        if (g->target == 0 && node->op != NULL && !node->through
            && !isan__type_has(&a->graph, node->op, ISAN__TYPE_TYPE)) {
            g->target = k->first;
        }
        *most = k->next;
    }
}

static void
report(struct analysis *a, struct group *g)
{
    size_t n = (strlen(g->type) + 1 + 7) & ~(size_t)7, pairs = g->n_paired * 8;
    struct isan_rec_leak *r = isan__log_reserve(sizeof *r + n + pairs);
    if (r == NULL) {
        return;
    }
    r->id = g->id;
    r->residue = (uint16_t)g->residue;
    r->keeper = (uint16_t)g->keeper;
    r->count = g->count;
    r->bytes = g->bytes;
    r->kept = g->kept;
    r->kept_bytes = g->kept_bytes;
    r->extra = g->extra;
    r->object = g->sample;
    r->holder = g->outside.holder;
    if (r->holder.address == 0 && a->graph.cut_short) {
        r->holder.flags = ISAN_HOLDER_CUT_SHORT;
    }
    r->n_paired = g->n_paired;
    r->look = a->look;
    r->domain = g->raw ? 'r' : g->sample.flags & ISAN_OBJ_OBJECT ? 'o' : 'm';
    r->text_size = (uint32_t)n;
    strcpy(r->text, g->type);
    memcpy(r->text + n, g->pairs, pairs);
    isan__log_publish(r, ISAN_REC_LEAK);
    isan__log_path(r->id, &g->outside.behind);
    for (uint32_t i = 0; i < g->n_paired; i++) {
        isan__finding_became_leak(g->pairs[2 * i + 1], r->id);
    }
    if (g->keeper == ISAN__RETAINER_interpreter) {
        kept(a, g);
    }
    else if (g->residue == ISAN__RESIDUE_none && g->root != 0) {
        keeper(a, g);
        kept(a, g);
        if (g->target != 0) {
            way(a, g);
        }
    }
}

/* --- all of it ------------------------------------------------------------------------ */

static void
count(char *block, void *arg)
{
    (void)block;
    ++*(uint32_t *)arg;
}

static bool
all_claimed(const struct analysis *a)
{
    for (size_t i = 0; i < a->graph.n; i++) {
        if (!a->graph.nodes[i].claimed) {
            return false;
        }
    }
    return true;
}

static void
analyse(struct analysis *a, isan__slot_t slot)
{
    bool others_first = isan__py.one_gil    /* residue_of() wants to know */
        || a->look != 0;                    /* own() does */
    a->wrapped = isan__allocator_is_wrapped();
    isan__log_modules();
    isan__scan_statics();
    isan__graph_statics(&a->graph);
    isan__visit_blocks(slot, collect, a);
    isan__graph_inside(&a->graph);
    if (others_first) {
        isan__graph_behind(&a->graph);
        isan__graph_others(&a->graph);
    }
    if (a->look != 0) {
        own(a);
    }
    roots(a, ISAN__RETAINER_unknown, is_held_for_sure);
    if (!all_claimed(a)) {
        if (!others_first) {
            isan__graph_behind(&a->graph);
            roots(a, ISAN__RETAINER_unknown, is_held_for_sure);
            isan__graph_others(&a->graph);
        }
        roots(a, ISAN__RETAINER_unknown, is_outside_for_sure);
        if (a->look == 0) {                 /* else own() has them */
            roots(a, ISAN__RETAINER_reference, is_alone);
            roots(a, ISAN__RETAINER_reference, has_extra);
            roots(a, ISAN__RETAINER_reference, has_extra_type);
        }
        roots(a, ISAN__RETAINER_cycle, is_to_blame);
        if (a->look != 0) {                 /* garbage there always is */
            roots(a, ISAN__RETAINER_cycle, can_cycle);
        }
        roots(a, ISAN__RETAINER_unknown, is_outside);
        roots(a, ISAN__RETAINER_cycle, is_suspicious);
        roots(a, ISAN__RETAINER_cycle, can_cycle);
        roots(a, ISAN__RETAINER_unknown, is_left);
    }
    for (size_t i = 0; i < a->n; i++) {
        report(a, &a->groups[i]);
    }
    if (a->overflow != 0) {
        isan__log_note("interpreter %lld left %u more blocks of more types and places "
                       "than are told apart", (long long)isan__interp_of(slot)->id, a->overflow);
    }
}

static uint32_t
owned_by(isan__slot_t slot, uint32_t look)
{
    uint32_t left = 0;
    isan__visit_blocks(slot, count, &left);
    if (!isan__options.leaks || left == 0 || (look == 0 && isan__self.ignoring)) {
        return left;
    }
    struct analysis *a = isan__map(sizeof *a);
    size_t queue = left * sizeof *a->queue, groups = MAX_GROUPS * sizeof *a->groups,
        kept = MAX_KEPT * sizeof *a->kept;
    if (a == NULL || !isan__graph_begin(&a->graph, slot, look != 0, left) || (a->queue = isan__map(queue)) == NULL
        || (a->groups = isan__map(groups)) == NULL || (a->kept = isan__map(kept)) == NULL) {
        isan__log_note("no memory to look at what interpreter %lld %s",
                       (long long)isan__interp_of(slot)->id, look ? "owns" : "left behind");
    }
    else {
        a->index.unlocked = a->kept_index.unlocked = a->explained.unlocked = true;
        a->look = look;
        analyse(a, slot);
        left = a->left;
    }
    if (a != NULL) {
        isan__graph_end(&a->graph);
        isan__table_clear(&a->index);
        isan__table_clear(&a->kept_index);
        isan__table_clear(&a->explained);
        isan__unmap(a->queue, queue);
        isan__unmap(a->groups, groups);
        isan__unmap(a->kept, kept);
        isan__unmap(a, sizeof *a);
    }
    return left;
}

void
isan__report_leaks(struct isan__interp_end *end)
{
    if (!end->main || isan__options.leaks_at_exit) {
        end->left = owned_by(end->slot, 0);
    }
}

uint32_t
isan__report_owned(isan__slot_t slot)
{
    static uint32_t looks;
    return owned_by(slot, __atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED));
}
