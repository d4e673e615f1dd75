/* References to an interpreter's blocks from outside the graph: from statics, from memory that
 * statics lead to, and from the blocks of other interpreters.  See refgraph.h.
 */
#include "runtime/detect/refgraph.h"

#include "runtime/base/scan.h"
#include "runtime/detect/static_finding.h"

/* The entry at index - 1, or, for index 0, a new entry at the end.  NULL: there are too many. */
static struct isan__external_ref *
find_or_add_ref(struct isan__graph *g, size_t index, int retainer)
{
    if (index != 0) {
        return &g->external_refs[index - 1];
    }
    if (g->n_external_refs == ISAN__GRAPH_MAX_EXTERNAL) {
        return NULL;
    }
    struct isan__external_ref *ref = &g->external_refs[g->n_external_refs++];
    ref->retainer = (uint8_t)retainer;
    return ref;
}

/* --- from statics ------------------------------------------------------------------------ */

/* A static refers to the block.  Its holder is the static that a finding names; if there is none, the
 * first. */
static void
add_static_ref(struct isan__graph *g, const struct isan_holder *holder, char *block, int retainer)
{
    size_t index = isan__table_get(&g->static_refs, (uint64_t)block);
    struct isan__external_ref *ref = find_or_add_ref(g, index, retainer);
    if (ref != NULL && ref->count++ == 0) {
        ref->holder = *holder;
        isan__table_put_or_drop(&g->static_refs, (uint64_t)block, g->n_external_refs);
    }
    else if (ref != NULL && retainer == ISAN__RETAINER_static && isan__static_is_reported(holder, block)) {
        ref->holder = *holder;
        ref->retainer = (uint8_t)retainer;
    }
}

static void
add_ref_from_static(const struct isan_holder *holder, char *block, void *g)
{
    /* A single-phase module's dictionary is kept in its definition (Python/import.c). */
    add_static_ref(g, holder, block,
                   isan__is_module_copy(holder->address) ? ISAN__RETAINER_runtime : ISAN__RETAINER_static);
}

static bool
add_ref_from_runtime(size_t at, uint64_t word, void *arg)
{
    struct isan__graph *g = arg;
    const char *to = isan__graph_target(g, word);
    char *block = to ? isan__block_of(to) : NULL;
    if (block != NULL && !isan__is_free_list_entry(isan__interp_of(g->slot)->interp, isan__py.runtime + at)) {
        add_static_ref(g, &(struct isan_holder){ .address = (uint64_t)(isan__py.runtime + at) }, block,
                       ISAN__RETAINER_runtime);
    }
    return true;
}

void
isan__graph_add_static_refs(struct isan__graph *g)
{
    isan__visit_statics_of(g->slot, add_ref_from_static, g);
    /* When Python has been finalised, its state holds nothing any more, but caches still have the
     * addresses of types and functions. */
    if (isan__interp_of(g->slot)->kind == ISAN_INTERP_MAIN && !g->living) {
        return;
    }
    /* isan__visit_statics_of() leaves out _PyRuntime, which is no variable of an extension. */
    isan__scan_words(isan__py.runtime, isan__py.runtime_size, 0, add_ref_from_runtime, g);
}

/* --- from memory that statics lead to ----------------------------------------------------- */

static bool
refers_to_node(uint64_t word, void *g)
{
    return isan__graph_referred_node(g, word) != NULL;
}

static bool
add_indirect_ref(const struct isan__pointer_path *path, uint64_t word, void *arg)
{
    struct isan__graph *g = arg;
    struct isan__node *node = isan__graph_referred_node(g, word);
    struct isan__external_ref *ref = find_or_add_ref(g, node->external_ref, ISAN__RETAINER_static);
    node->n_refs++;
    if (ref != NULL && ref->block == NULL && ref->count++ == 0) {
        ref->holder = path->holder;
        ref->path = *path;
        node->external_ref = (uint32_t)g->n_external_refs;
    }
    return false;
}

void
isan__graph_add_indirect_refs(struct isan__graph *g)
{
    g->cut_short |= !isan__search_indirect(true, refers_to_node, add_indirect_ref, g);
}

bool
isan__graph_is_runtime_memory(struct isan__graph *g, const char *block)
{
    if (!g->runtime_memory_known) {
        g->runtime_memory_known = true;
        isan__mark_runtime_reachable(&g->runtime_memory);
    }
    return isan__table_get(&g->runtime_memory, (uint64_t)block) != 0;
}

/* --- from the blocks of other interpreters ------------------------------------------------- */

struct block_scan {
    struct isan__graph *g;
    char *block;
};

/* Visits the words of another interpreter's block that may be addresses; arg is a block_scan.
 * Inlined, so that the visitor is, too. */
ISAN__ALWAYS_INLINE void
scan_foreign_block(struct isan__graph *g, char *block, isan__word_visitor *visit)
{
    struct block_scan scan = { g, block };
    size_t size = isan__block_size(block);
    for (size_t at = 0; at < size; at += ISAN__GRAPH_WINDOW) {
        size_t n = size - at < ISAN__GRAPH_WINDOW ? size - at : ISAN__GRAPH_WINDOW;
        const char *words = isan__graph_copy(g, block + at, n);
        if (words == NULL) {
            return;
        }
        isan__scan_words(words, n, at, visit, &scan);
    }
}

/* Does the known external reference of a node explain more than this one?  An object explains more
 * than memory, another interpreter's memory more than the runtime's, and a static more than
 * either. */
static bool
is_better(const struct isan__external_ref *known, const char *op, int retainer)
{
    return known->block == NULL || known->op != NULL || (op == NULL && known->retainer <= retainer);
}

static void
add_foreign_ref(struct isan__graph *g, struct isan__node *node, char *block, char *op, uint32_t at)
{
    int retainer = op == NULL && isan__load_tag(block) & ISAN__RAW && isan__graph_is_runtime_memory(g, block)
        ? ISAN__RETAINER_runtime : ISAN__RETAINER_foreign;
    struct isan__external_ref *ref = find_or_add_ref(g, node->external_ref, retainer);
    /* The runtime's memory has many old pointers. */
    node->n_refs += retainer != ISAN__RETAINER_runtime;
    if (ref == NULL || (node->external_ref != 0 && is_better(ref, op, retainer))) {
        return;
    }
    if (node->external_ref == 0) {
        node->external_ref = (uint32_t)g->n_external_refs;
    }
    else if (ref->retainer == ISAN__RETAINER_runtime) {
        ref->runtime_block = ref->block;
        ref->runtime_at = ref->at;
    }
    ref->retainer = (uint8_t)retainer;
    ref->block = block;
    ref->op = op;
    ref->at = at;
    if (op == NULL && retainer == ISAN__RETAINER_foreign) {
        isan__table_put_or_drop(&g->pointed_by, (uint64_t)block, 1);
    }
}

static bool
visit_foreign_word(size_t at, uint64_t word, void *arg)
{
    const struct block_scan *scan = arg;
    struct isan__graph *g = scan->g;
    char *block = scan->block;
    struct isan__node *node = isan__graph_referred_node(g, word);
    if (node == NULL) {
        return true;
    }
    char *op = isan__object_in(block);
    struct { uint64_t count; const void *type; } head = { 0 };
    if (op != NULL && (!isan__peek(&head, op, sizeof head) || !isan__is_count(head.count)
                       || isan__graph_is_link(g, head.type, block + at - op))) {
        return true;
    }
    if (op == NULL && isan__is_dict_hash(block, isan__block_size(block), at, false)) {
        return true;
    }
    /* Any interpreter enlarges the dictionaries that all share.  The hashes in their tables look
     * like pointers; static_scan.c visits the keys. */
    if (op != NULL && isan__py.shares_runtime_statics && head.type == isan__py.dict_type
        && block + at == op + ISAN__MA_KEYS) {
        node->no_outgoing = 1;
    }
    add_foreign_ref(g, node, block, op, (uint32_t)at);
    return true;
}

static bool
is_foreign(const struct isan__graph *g, const char *block)
{
    return (isan__slot_t)isan__load_tag(block) != g->slot;
}

static void
find_foreign_refs(char *block, void *g)
{
    if (is_foreign(g, block) && !(isan__load_tag(block) & ISAN__FREED)) {
        scan_foreign_block(g, block, visit_foreign_word);
    }
}

/* Values of pointed_by: nothing is known to point at the memory, or only other memory does.  Any
 * other value is the object that does. */
enum { UNKNOWN = 1, MEMORY = 2 };

static bool
note_pointer_to_memory(size_t at, uint64_t word, void *arg)
{
    const struct block_scan *scan = arg;
    struct isan__table *pointed_by = &scan->g->pointed_by;
    uint64_t known = word % ISAN__GRANULE == 0 && isan__load_tag((void *)word) & ISAN__START
        ? isan__table_get(pointed_by, word) : 0;
    (void)at;
    if (known == UNKNOWN || known == MEMORY) {
        char *op = isan__object_in(scan->block);
        uint64_t count;
        if (op == NULL || (isan__peek(&count, op, sizeof count) && isan__is_count(count))) {
            isan__table_put_or_drop(pointed_by, word, op ? (uint64_t)op : MEMORY);
        }
    }
    return true;
}

static void
find_pointers_to_memory(char *block, void *g)
{
    if (is_foreign(g, block)) {
        scan_foreign_block(g, block, note_pointer_to_memory);
    }
}

/* Is the word in raw memory that refers to a node still in use?  It may be an old one after the
 * items of a list or dictionary, or in memory that nothing points at. */
static bool
is_ref_in_use(struct isan__graph *g, struct isan__external_ref *ref)
{
    uint64_t via = isan__table_get(&g->pointed_by, (uint64_t)ref->block);
    if (via == UNKNOWN || via == MEMORY) {
        return via == MEMORY || isan__find_static_holder(ref->block, ref->block).address != 0;
    }
    ref->via = (char *)via;
    return isan__is_word_in_use(ref->via, ref->block, ref->at);
}

/* Removes a reference that is not in use; one from the runtime's memory may remain. */
static void
drop_foreign_ref(struct isan__node *node, struct isan__external_ref *ref)
{
    node->n_refs--;
    if (ref->runtime_block == NULL) {
        node->external_ref = 0;
        return;
    }
    ref->retainer = ISAN__RETAINER_runtime;
    ref->block = ref->runtime_block;
    ref->at = ref->runtime_at;
}

void
isan__graph_add_foreign_refs(struct isan__graph *g)
{
    isan__visit_blocks(0, find_foreign_refs, g);
    if (g->pointed_by.used == 0) {
        return;
    }
    isan__visit_blocks(0, find_pointers_to_memory, g);
    for (size_t i = 0; i < g->n; i++) {
        struct isan__node *node = &g->nodes[i];
        struct isan__external_ref *ref = node->external_ref ? &g->external_refs[node->external_ref - 1] : NULL;
        if (ref != NULL && ref->block != NULL && ref->op == NULL && ref->retainer == ISAN__RETAINER_foreign
            && !is_ref_in_use(g, ref) && node->op != NULL) {
            drop_foreign_ref(node, ref);
        }
    }
}
