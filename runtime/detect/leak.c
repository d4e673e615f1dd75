/* Finds what an interpreter left behind when its memory was freed (Python/pystate.c,
 * free_interpreter), or what a living interpreter owns.
 *
 * Its blocks and the references between them are a graph (refgraph.h).  There are four kinds of
 * root: a block that something outside the graph refers to, a static first of all; a block that
 * nothing refers to; a block with more references than were found; and a block of a cycle.  What a
 * root keeps alive is only counted with it.  Roots of one type, creation site and retainer are a
 * group.
 *
 * While the interpreter lives, unexplained references are its own, from frames and C code.  The
 * collector finds them in the same way (Python/gc.c, subtract_refs).  So for a living interpreter
 * isan records what only a static or another interpreter keeps alive, and garbage.  It records
 * neither missing Py_DECREFs nor memory that was not freed.
 */
#include "runtime/detect/leak.h"

#include "runtime/base/check.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/finding.h"
#include "runtime/core/stack.h"
#include "runtime/detect/leak_record.h"

bool (*isan__allocator_is_wrapped)(void);
static const struct isan__external_ref no_external_ref;

static const struct isan__external_ref *
external_ref_of(const struct isan__leak_analysis *a, const struct isan__node *node)
{
    return node->external_ref ? &a->graph.external_refs[node->external_ref - 1] : &no_external_ref;
}

/* The number of references to the node that isan has not found.  The count of an immortal object
 * says nothing. */
static uint32_t
unexplained_refs(const struct isan__node *node)
{
    uint32_t count = node->op ? isan__reference_count(node->op) : 0;
    return (int32_t)count > 0 && count > node->n_refs ? count - node->n_refs : 0;
}

/* --- step 1: the nodes ---------------------------------------------------------------------- */

/* Does a static hold the interned string at `block`?  CPython's own statics, such as its caches for
 * types, do not count if the interpreter shares the main one's dictionary of interned strings. */
static bool
is_interned_str_held(struct isan__leak_analysis *a, const char *block)
{
    size_t i = isan__table_get(&a->graph.static_refs, (uint64_t)block);
    return i != 0 && !(isan__interp_of(a->graph.slot)->shares_main
                       && isan__runtime_has(a->graph.external_refs[i - 1].holder.address));
}

/* The rule by which the block itself is CPython's own residue. */
static uint32_t
residue_of_block(struct isan__leak_analysis *a, char *block, char *op)
{
    if (op != NULL) {
        struct isan_object o;
        isan__describe_object(&o, op, block);
        return o.flags & ISAN_OBJ_INTERNED && !is_interned_str_held(a, block)
            ? ISAN__RESIDUE_interned : ISAN__RESIDUE_none;
    }
    if (!(isan__load_tag(block) & ISAN__RAW)) {
        return ISAN__RESIDUE_none;
    }
    return a->allocator_is_wrapped ? ISAN__RESIDUE_tracemalloc
        : isan__is_declared_shared(block) ? ISAN__RESIDUE_shared
        : isan__graph_is_runtime_memory(&a->graph, block) ? ISAN__RESIDUE_process
        : ISAN__RESIDUE_none;
}

/* Makes a node of each block that was left.  CPython's own residue goes into its groups at once. */
static void
collect_block(char *block, void *arg)
{
    struct isan__leak_analysis *a = arg;
    a->n_blocks++;
    if (isan__load_tag(block) & ISAN__FREED) {
        a->n_freed++;                       /* quarantined: properly freed */
        return;
    }
    char *op = isan__object_in(block);
    uint32_t residue = residue_of_block(a, block, op);
    if (residue != ISAN__RESIDUE_none || !isan__graph_add(&a->graph, block, op)) {
        struct isan__leak_group *group =
            isan__leak_find_group(a, block, op, &no_external_ref, ISAN__RETAINER_runtime, residue);
        if (group != NULL) {
            group->count++;
            group->bytes += isan__block_size(block);
        }
    }
}

/* --- step 2: the roots ---------------------------------------------------------------------- */

/* The rule by which the retainer of the root makes it CPython's own residue. */
static uint32_t
residue_of_root(struct isan__leak_analysis *a, const struct isan__node *node)
{
    const struct isan__external_ref *ref = external_ref_of(a, node);
    uint64_t holder = ref->holder.address;
    if (holder != 0 && a->query == 0 && isan__interp_of(a->graph.slot)->kind == ISAN_INTERP_MAIN) {
        return ISAN__RESIDUE_statics;
    }
    if (isan__py.shares_runtime_statics
        && (isan__runtime_has(holder)
            || (holder != 0 && node->op != NULL && isan__is_arg_parser_cache(holder, node->op)))) {
        return ISAN__RESIDUE_runtime;
    }
    if (a->allocator_is_wrapped && holder == 0 && node->op && isan__is_str(node->op)) {
        return ISAN__RESIDUE_tracemalloc;
    }
    if (isan__py.shares_one_heap && ref->block != NULL && node->op == NULL) {
        return ISAN__RESIDUE_one_heap;
    }
    if (node->op == NULL && isan__interp_of(a->graph.slot)->shares_main
        && isan__is_interned_table(node->start, isan__block_size(node->start))) {
        return ISAN__RESIDUE_interned;
    }
    return ISAN__RESIDUE_none;
}

/* An edge visitor: queues the node that is referred to, unless it is claimed. */
static void
claim(struct isan__graph *graph, size_t from, uint32_t at, size_t to, void *arg)
{
    struct isan__leak_analysis *a = arg;
    struct isan__node *node = &graph->nodes[to];
    if (!node->claimed) {
        node->claimed = 1;
        node->parent = (uint32_t)from;
        node->at = at;
        node->via_type = graph->nodes[from].via_type
            || isan__graph_type_has(graph, graph->nodes[from].op, ISAN__TYPE_TYPE);
        a->queue[a->n_queued++] = (uint32_t)to;
    }
}

static void
claim_referred(struct isan__leak_analysis *a, size_t i)
{
    isan__graph_visit_refs(&a->graph, i, claim, a);
    isan__graph_visit_weakrefs(&a->graph, i, claim, a);
}

/* The retainer of a root that nothing refers to now.  If a scan has seen a static hold it, the
 * static was overwritten since.  If isan refused another interpreter's free(), the program has
 * given it up. */
static uint32_t
retainer_without_reference(struct isan__node *node)
{
    uint32_t serial = isan__noted_serial(node->start), ids[8];
    int n = serial ? isan__findings_of_object(serial, ids, 8) : 0;
    uint32_t retainer = node->op ? ISAN__RETAINER_reference : ISAN__RETAINER_memory;
    for (int i = 0; i < n; i++) {
        int kind = isan__finding_kind(ids[i]);
        if (kind == ISAN__KIND_free) {
            return ISAN__RETAINER_given_up;
        }
        retainer = kind == ISAN__KIND_static && node->op != NULL ? ISAN__RETAINER_replaced : retainer;
    }
    return retainer;
}

/* Node i is a root: adds it to its group, and all that it leads to. */
static struct isan__leak_group *
add_root(struct isan__leak_analysis *a, size_t i, uint32_t retainer)
{
    struct isan__node *node = &a->graph.nodes[i];
    const struct isan__external_ref *ref =
        retainer == ISAN__RETAINER_cycle ? &no_external_ref : external_ref_of(a, node);
    if (ref->retainer != ISAN__RETAINER_unknown) {
        retainer = ref->retainer;
    }
    else if (retainer == ISAN__RETAINER_reference) {
        retainer = retainer_without_reference(node);
    }
    struct isan__leak_group *group =
        isan__leak_find_group(a, node->start, node->op, ref, retainer, residue_of_root(a, node));
    a->n_queued = 0;
    claim(&a->graph, i, 0, i, a);
    if (group != NULL && group->root == 0) {
        group->root = (uint32_t)i + 1;
    }
    for (size_t next = 0; next < a->n_queued; next++) {
        size_t j = a->queue[next];
        char *block = a->graph.nodes[j].start;
        if (group != NULL && j == i) {
            group->count++;
            group->bytes += isan__block_size(block);
            group->unexplained_refs += unexplained_refs(node);
        }
        else if (group != NULL) {
            isan__leak_add_retained(a, group, j);
        }
        if (group != NULL && a->query == 0) {
            isan__leak_add_findings(group, block, j == i);
            isan__block_leaked(block, group->id);
        }
        claim_referred(a, j);
    }
    return group;
}

/* Of a living interpreter: may frames or C code have a reference to the node? */
static bool
is_in_use(const struct isan__node *node)
{
    return node->op == NULL ? node->n_refs == 0
        : (int32_t)isan__reference_count(node->op) <= 0 || unexplained_refs(node) != 0;
}

/* Makes one group of all that a living interpreter itself keeps alive. */
static void
add_interpreter_group(struct isan__leak_analysis *a)
{
    struct isan__leak_group *group = &a->groups[a->n_groups++];
    group->id = isan__next_finding_id();
    group->retainer = ISAN__RETAINER_interpreter;
    group->sample.owner = isan__interp_of(a->graph.slot)->serial;
    a->n_queued = 0;
    for (size_t i = 0; i < a->graph.n; i++) {
        if (is_in_use(&a->graph.nodes[i])) {
            claim(&a->graph, i, 0, i, a);
        }
    }
    for (size_t next = 0; next < a->n_queued; next++) {
        isan__leak_add_retained(a, group, a->queue[next]);
        claim_referred(a, a->queue[next]);
    }
}

/* --- why the collector could not clear a cycle
 * -------------------------------------------------- */

static uint32_t
count_other_refs(const void *target, void *arg)
{
    struct isan__leak_analysis *a = arg;
    const struct isan__node *node = isan__graph_node(&a->graph, target);
    return node ? node->n_refs - node->n_self_refs : 0;
}

/* With these reasons the collector still clears the other objects of a cycle, which is mostly
 * enough. */
static bool
is_weak_reason(uint32_t reason)
{
    return reason == ISAN__REASON_no_clear || reason == ISAN__REASON_resurrected;
}

/* Records why the collector could not clear the cycle that was claimed last.  A weak reason counts
 * only if there is no other. */
static void
explain_cycle(struct isan__leak_analysis *a, const struct isan__leak_group *group)
{
    enum { MAX_REASONS = 8, MAX_OBJECTS = 4096 };
    bool found = false;
    for (int weak = 0; weak < 2 && !found; weak++) {
        for (size_t next = 0; next < a->n_queued && next < MAX_OBJECTS; next++) {
            struct isan__gc_reason why[MAX_REASONS];
            const char *op = a->graph.nodes[a->queue[next]].op;
            int n = op == NULL ? 0 : isan__gc_reasons(op, count_other_refs, a, why, MAX_REASONS);
            for (int i = 0; i < n; i++) {
                found |= is_weak_reason(why[i].reason) == weak && isan__leak_record_reason(a, group, &why[i]);
            }
        }
    }
}

static void
note_collectable(struct isan__graph *graph, size_t from, uint32_t at, size_t to, void *arg)
{
    struct isan__leak_analysis *a = arg;
    (void)at;
    a->found_collectable |= from != to && isan__graph_type_has(graph, graph->nodes[to].op, ISAN__TYPE_HAVE_GC);
}

/* How likely it is that node i is the cause of its cycle. */
enum suspicion {
    HIDES_CYCLE,    /* an extension's object that takes no part in garbage collection and refers to one that does */
    CAN_CYCLE,      /* an object that takes part in it */
    SEEMS_TO_CYCLE, /* anything else: there is an old pointer in it */
};

static enum suspicion
suspicion(struct isan__leak_analysis *a, size_t i)
{
    const char *op = a->graph.nodes[i].op;
    if (op == NULL || isan__graph_type_has(&a->graph, op, ISAN__TYPE_HAVE_GC)) {
        return op == NULL ? SEEMS_TO_CYCLE : CAN_CYCLE;
    }
    a->found_collectable = false;
    if (!isan__runtime_has((uint64_t)isan__object_type(op))) {
        isan__graph_visit_refs(&a->graph, i, note_collectable, a);
    }
    return a->found_collectable ? HIDES_CYCLE : SEEMS_TO_CYCLE;
}

/* --- predicates: is node i a root?
 * ---------------------------------------------------------------- */

/* Does the object count the external reference?  Else it is borrowed, or an old pointer. */
static bool
needs_external_ref(struct isan__leak_analysis *a, const struct isan__node *node)
{
    const struct isan__external_ref *ref = external_ref_of(a, node);
    uint32_t count = node->op ? isan__reference_count(node->op) : 0;
    uint32_t counted = ref->block == NULL ? ref->count : ref->retainer != ISAN__RETAINER_runtime;
    return (int32_t)count <= 0 || count + counted > node->n_refs;
}

static bool
is_held_by_static(struct isan__leak_analysis *a, size_t i)
{
    const struct isan__node *node = &a->graph.nodes[i];
    return external_ref_of(a, node)->holder.address != 0 && needs_external_ref(a, node);
}

/* A weak reference is counted with the object that it refers to, if that was left, too. */
static bool
has_external_ref(struct isan__leak_analysis *a, size_t i)
{
    return a->graph.nodes[i].external_ref != 0 && !isan__graph_is_weakref(&a->graph, i);
}

static bool
has_counted_external_ref(struct isan__leak_analysis *a, size_t i)
{
    return has_external_ref(a, i) && needs_external_ref(a, &a->graph.nodes[i]);
}

static bool
is_unreferenced(struct isan__leak_analysis *a, size_t i)
{
    return !a->graph.nodes[i].has_incoming && !isan__graph_is_weakref(&a->graph, i);
}

static bool
has_unexplained_refs(struct isan__leak_analysis *a, size_t i)
{
    (void)a;
    return unexplained_refs(&a->graph.nodes[i]) != 0;
}

static bool
is_instance_with_unexplained_refs(struct isan__leak_analysis *a, size_t i)
{
    return has_unexplained_refs(a, i) && !isan__graph_type_has(&a->graph, a->graph.nodes[i].op, ISAN__TYPE_TYPE);
}

static bool
is_hidden_from_gc(struct isan__leak_analysis *a, size_t i)
{
    struct isan__gc_reason why;
    const char *op = a->graph.nodes[i].op;
    return op != NULL && isan__gc_reasons(op, count_other_refs, a, &why, 1) > 0;
}

static bool
hides_cycle(struct isan__leak_analysis *a, size_t i)
{
    return suspicion(a, i) == HIDES_CYCLE;
}

static bool
can_cycle(struct isan__leak_analysis *a, size_t i)
{
    return suspicion(a, i) == CAN_CYCLE;
}

static bool
is_any(struct isan__leak_analysis *a, size_t i)
{
    (void)a;
    (void)i;
    return true;
}

/* --- all of it
 * ---------------------------------------------------------------------------------- */

/* The passes over the nodes, in order.  A node is a root in the first pass with a true predicate,
 * unless an earlier root led to it. */
enum { ENDED = 1, LIVING = 2, ANY = ENDED | LIVING };
static const struct pass {
    bool (*is_root)(struct isan__leak_analysis *a, size_t i);
    const char *name;
    enum isan__retainer retainer;           /* if no external reference has another */
    int when;                               /* ENDED or LIVING: only for such interpreters */
    void (*find_refs)(struct isan__graph *g);       /* called before the pass: finds more references, slowly */
} passes[] = {
#define PASS(is_root, retainer, when, find_refs) { is_root, #is_root, ISAN__RETAINER_##retainer, when, find_refs }
    PASS(is_held_by_static,                 unknown,   ANY,    NULL),
    PASS(is_held_by_static,                 unknown,   ANY,    isan__graph_add_indirect_refs),
    PASS(has_counted_external_ref,          unknown,   ANY,    isan__graph_add_foreign_refs),
    /* Those of a living interpreter are in the group of add_interpreter_group(). */
    PASS(is_unreferenced,                   reference, ENDED,  NULL),
    /* An instance comes first: a type or a module has many references that isan does not find. */
    PASS(is_instance_with_unexplained_refs, reference, ENDED,  NULL),
    PASS(has_unexplained_refs,              reference, ENDED,  NULL),
    PASS(is_hidden_from_gc,                 cycle,     ANY,    NULL),
    PASS(can_cycle,                         cycle,     LIVING, NULL),     /* there is always garbage */
    PASS(has_external_ref,                  unknown,   ANY,    NULL),
    PASS(hides_cycle,                       cycle,     ANY,    NULL),
    PASS(can_cycle,                         cycle,     ANY,    NULL),
    PASS(is_any,                            unknown,   ANY,    NULL),
#undef PASS
};

static double
milliseconds_since(uint64_t start)
{
    return (double)(isan__now() - start) / 1e6;
}

static void
find_roots(struct isan__leak_analysis *a, const struct pass *pass)
{
    uint64_t start = isan__now();
    size_t n = 0;
    for (size_t i = 0; i < a->graph.n; i++) {
        if (!a->graph.nodes[i].claimed && pass->is_root(a, i)) {
            struct isan__leak_group *group = add_root(a, i, pass->retainer);
            if (pass->retainer == ISAN__RETAINER_cycle && group != NULL) {
                explain_cycle(a, group);
            }
            n++;
        }
    }
    ISAN__TRACE(2, "leaks: %s: %zu root(s) in %.1f ms", pass->name, n, milliseconds_since(start));
}

static bool
all_claimed(const struct isan__leak_analysis *a)
{
    for (size_t i = 0; i < a->graph.n; i++) {
        if (!a->graph.nodes[i].claimed) {
            return false;
        }
    }
    return true;
}

/* A claimed node has a claimed parent, and the path to its root ends. */
static bool
claims_are_consistent(const struct isan__leak_analysis *a)
{
    const struct isan__node *nodes = a->graph.nodes;
    for (size_t i = 0; i < a->graph.n; i++) {
        if (nodes[i].claimed && (nodes[i].parent >= a->graph.n || !nodes[nodes[i].parent].claimed)) {
            return false;
        }
    }
    return true;
}

static void
find_refs(struct isan__leak_analysis *a, void (*find)(struct isan__graph *g), const char *where)
{
    uint64_t start = isan__now();
    find(&a->graph);
    ISAN__EXPENSIVE(isan__graph_is_consistent(&a->graph));
    ISAN__TRACE(2, "leaks: references from %s in %.1f ms; external: %zu in all", where,
                milliseconds_since(start), a->graph.n_external_refs);
}

static void
build_graph(struct isan__leak_analysis *a, bool all_refs)
{
    uint64_t start = isan__now();
    find_refs(a, isan__graph_add_static_refs, "statics");
    isan__visit_blocks(a->graph.slot, collect_block, a);
    ISAN__TRACE(2, "leaks: %u blocks, %zu nodes, %zu group(s) of residue in %.1f ms", a->n_blocks, a->graph.n,
                a->n_groups, milliseconds_since(start));
    find_refs(a, isan__graph_count_refs, "the interpreter's blocks");
    if (all_refs) {
        find_refs(a, isan__graph_add_indirect_refs, "memory that statics lead to");
        find_refs(a, isan__graph_add_foreign_refs, "other interpreters");
    }
}

static void
analyse(struct isan__leak_analysis *a)
{
    uint64_t start = isan__now();
    long long id = (long long)isan__interp_of(a->graph.slot)->id;
    /* residue_of_root() and add_interpreter_group() need all references. */
    bool all_refs = isan__py.shares_one_heap || a->query != 0;
    a->allocator_is_wrapped = isan__allocator_is_wrapped();
    isan__log_modules();
    isan__scan_statics();
    build_graph(a, all_refs);
    if (a->query != 0) {
        add_interpreter_group(a);
    }
    for (size_t i = 0; i < sizeof passes / sizeof *passes && !all_claimed(a); i++) {
        if (passes[i].find_refs != NULL && !all_refs) {
            find_refs(a, passes[i].find_refs, "elsewhere");
        }
        if (passes[i].when & (a->query ? LIVING : ENDED)) {
            find_roots(a, &passes[i]);
        }
    }
    ISAN__EXPENSIVE(claims_are_consistent(a));
    ISAN__EXPENSIVE(isan__leak_counts_are_consistent(a));
    for (size_t i = 0; i < a->n_groups; i++) {
        isan__leak_record_group(a, &a->groups[i]);
    }
    if (a->n_dropped != 0) {
        isan__log_note("interpreter %lld left %u more blocks of more types and places "
                       "than are told apart", id, a->n_dropped);
    }
    ISAN__TRACE(1, "interpreter %lld %s %u blocks in %zu group(s), found in %.1f ms", id,
                a->query ? "owns" : "has left", a->n_blocks, a->n_groups, milliseconds_since(start));
}

static void
count_block(char *block, void *n)
{
    (void)block;
    ++*(uint32_t *)n;
}

/* Records what slot's interpreter left (query 0) or owns.  Returns the number of blocks.  UINT32_MAX
 * if they cannot be counted: the slot is then not reused. */
static uint32_t
analyse_slot(isan__slot_t slot, uint32_t query)
{
    uint32_t n = 0;
    if (!isan__visit_blocks(slot, count_block, &n)) {
        return UINT32_MAX;
    }
    if (!isan__options.leaks || n == 0 || (query == 0 && isan__self.ignoring)) {
        return n;
    }
    struct isan__leak_analysis *a = isan__map(sizeof *a);
    size_t queue = n * sizeof *a->queue, groups = ISAN__LEAK_MAX_GROUPS * sizeof *a->groups,
        retained_types = ISAN__LEAK_MAX_RETAINED * sizeof *a->retained_types;
    if (a == NULL || !isan__graph_begin(&a->graph, slot, query != 0, n) || (a->queue = isan__map(queue)) == NULL
        || (a->groups = isan__map(groups)) == NULL || (a->retained_types = isan__map(retained_types)) == NULL) {
        isan__log_note("no memory to look at what interpreter %lld %s",
                       (long long)isan__interp_of(slot)->id, query ? "owns" : "left behind");
    }
    else {
        a->group_index.unlocked = a->retained_index.unlocked = a->reasons.unlocked = true;
        a->query = query;
        analyse(a);
        n = a->n_blocks != 0 ? a->n_blocks : n;
    }
    if (a != NULL) {
        isan__graph_end(&a->graph);
        isan__table_clear(&a->group_index);
        isan__table_clear(&a->retained_index);
        isan__table_clear(&a->reasons);
        isan__unmap(a->queue, queue);
        isan__unmap(a->groups, groups);
        isan__unmap(a->retained_types, retained_types);
        isan__unmap(a, sizeof *a);
    }
    return n;
}

void
isan__report_leaks(struct isan__interp_end *end)
{
    if (!end->main || isan__options.leaks_at_exit) {
        end->left = analyse_slot(end->slot, 0);
    }
}

uint32_t
isan__report_owned(isan__slot_t slot)
{
    static uint32_t queries;
    return analyse_slot(slot, __atomic_add_fetch(&queries, 1, __ATOMIC_RELAXED));
}
