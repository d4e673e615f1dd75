/* The records of leaks: see leak_record.h. */
#include "runtime/detect/leak_record.h"

#include "runtime/core/finding.h"
#include "runtime/cpython/reference_name.h"

enum { MAX_STEPS = 24, MAX_TYPES = 100 };

bool
isan__leak_record_reason(struct isan__leak_analysis *a, const struct isan__leak_group *group,
                         const struct isan__gc_reason *why)
{
    struct { uint64_t type_name, group, reason, offset; } of = {
        isan__hash(why->type, strlen(why->type), 0), group->id, why->reason, why->offset,
    };
    uint64_t key = isan__table_key(ISAN__KEY_HASH, &of, sizeof of);
    if (isan__table_get(&a->reasons, key) != 0) {
        return true;
    }
    const char *const text[] = { why->type, why->target, why->member };
    struct isan_rec_reason *r = isan__log_reserve(sizeof *r + isan__log_strings_size(text, 3));
    if (r == NULL) {
        return false;
    }
    isan__table_put_or_drop(&a->reasons, key, 1);
    r->leak = group->id;
    r->reason = why->reason;
    r->basicsize = why->basicsize;
    r->pad = 0;
    r->offset = why->offset;
    r->code = why->code;
    isan__log_put_strings(r->text, text, 3);
    isan__log_publish(r, ISAN_REC_REASON);
    return true;
}

/* One reference of a path. */
struct step {
    char *from_op, *from_block;             /* from_op NULL: raw memory; both NULL: not known */
    char *memory;                           /* memory of from_op that has the reference; NULL: from_op itself has it */
    ptrdiff_t at;                           /* offset of the reference in that memory, or from the object's start */
    char *to_op, *to_block;                 /* to_op NULL: raw memory */
};

static void
describe_end(struct isan_object *o, const char *op, char *block)
{
    if (block == NULL) {
        memset(o, 0, sizeof *o);
        return;
    }
    isan__describe_object(o, op ? op : block, block);
}

static void
record_step(struct isan__leak_analysis *a, uint32_t leak, uint32_t position, const struct step *step)
{
    struct isan__reference_name name;
    char from[128] = "";
    if (step->from_op != NULL) {
        isan__type_name_or_unknown(step->from_op, from, sizeof from);
    }
    isan__name_reference(step->from_op, step->memory, step->at, &name);
    const char *const text[] = { from, isan__leak_type_name(a, step->to_op), name.label, name.member };
    struct isan_rec_step *r = isan__log_reserve(sizeof *r + isan__log_strings_size(text, 4));
    if (r == NULL) {
        return;
    }
    r->leak = leak;
    r->position = position;
    describe_end(&r->from, step->from_op, step->from_block);
    describe_end(&r->to, step->to_op, step->to_block);
    r->edge = name.edge;
    r->basicsize = name.basicsize;
    r->offset = name.offset;
    r->code = name.code;
    isan__log_put_strings(r->text, text, 4);
    isan__log_publish(r, ISAN_REC_STEP);
}

/* Records the path from the group's sample to a sample of what it keeps alive.  Raw memory on the
 * path is part of the object before it. */
static void
record_path(struct isan__leak_analysis *a, const struct isan__leak_group *group)
{
    uint32_t path[MAX_STEPS] = { 0 }, n = 0, position = 1;
    const struct isan__node *nodes = a->graph.nodes;
    for (uint32_t i = group->target - 1; i != group->root - 1; i = nodes[i].parent) {
        if (n == MAX_STEPS) {
            return;
        }
        path[n++] = i;
    }
    const struct isan__node *from = &nodes[group->root - 1];
    while (n-- > 0) {
        const struct isan__node *to = &nodes[path[n]], *before = &nodes[to->parent];
        if (to->op == NULL && n != 0) {
            continue;
        }
        bool direct = before == from && from->op != NULL;
        record_step(a, group->id, position++, &(struct step){
            .from_op = from->op, .from_block = from->start, .memory = direct ? NULL : before->start,
            .at = direct ? from->start + to->at - from->op : (ptrdiff_t)to->at,
            .to_op = to->op, .to_block = to->start,
        });
        from = to;
    }
}

/* Records the reference to the group's sample from a block of another interpreter or of none. */
static void
record_retainer(struct isan__leak_analysis *a, const struct isan__leak_group *group)
{
    const struct isan__external_ref *ref = &group->external;
    const struct isan__node *node = &a->graph.nodes[group->root - 1];
    if (ref->block == NULL) {
        return;
    }
    struct step step = { .to_op = node->op, .to_block = node->start };
    if (ref->op != NULL) {
        step.from_op = ref->op;
        step.from_block = ref->block;
        step.at = ref->block + ref->at - ref->op;
    }
    else {
        step.from_op = ref->via;
        step.from_block = ref->via ? isan__block_of(ref->via) : ref->block;
        step.memory = ref->block;
        step.at = ref->at;
    }
    record_step(a, group->id, 0, &step);
}

/* Takes the type with most bytes from the group's list. */
static const struct isan__retained_type *
take_largest_type(struct isan__leak_analysis *a, struct isan__leak_group *group)
{
    struct isan__retained_type *types = a->retained_types;
    uint32_t *largest = NULL;
    for (uint32_t *k = &group->types; *k != 0; k = &types[*k - 1].next) {
        if (largest == NULL || types[*k - 1].bytes > types[*largest - 1].bytes) {
            largest = k;
        }
    }
    const struct isan__retained_type *type = &types[*largest - 1];
    *largest = type->next;
    return type;
}

/* Records what the group keeps alive by type, most bytes first, and chooses the sample of it. */
static void
record_retained(struct isan__leak_analysis *a, struct isan__leak_group *group)
{
    for (int i = 0; group->types != 0 && i < MAX_TYPES; i++) {
        const struct isan__retained_type *type = take_largest_type(a, group);
        const struct isan__node *node = &a->graph.nodes[type->first - 1];
        const char *name = isan__leak_type_name(a, node->op);
        struct isan_rec_kept *r = isan__log_reserve(sizeof *r + strlen(name) + 1);
        if (r == NULL) {
            return;
        }
        r->leak = group->id;
        r->pad = 0;
        r->count = type->count;
        r->bytes = type->bytes;
        strcpy(r->text, name);
        isan__log_publish(r, ISAN_REC_KEPT);
        /* A path to a class, or to a part of one, says little. */
        if (group->target == 0 && node->op != NULL && !node->via_type
            && !isan__graph_type_has(&a->graph, node->op, ISAN__TYPE_TYPE)) {
            group->target = type->first;
        }
    }
}

void
isan__leak_record_group(struct isan__leak_analysis *a, struct isan__leak_group *group)
{
    size_t text_size = (strlen(group->type) + 1 + 7) & ~(size_t)7, pairs_size = group->n_pairs * 8;
    struct isan_rec_leak *r = isan__log_reserve(sizeof *r + text_size + pairs_size);
    if (r == NULL) {
        return;
    }
    r->id = group->id;
    r->residue = (uint16_t)group->residue;
    r->retainer = (uint16_t)group->retainer;
    r->count = group->count;
    r->bytes = group->bytes;
    r->retained = group->retained;
    r->retained_bytes = group->retained_bytes;
    r->unexplained_refs = group->unexplained_refs;
    r->object = group->sample;
    r->holder = group->external.holder;
    if (r->holder.address == 0 && a->graph.cut_short) {
        r->holder.flags = ISAN_HOLDER_CUT_SHORT;
    }
    r->n_paired = group->n_pairs;
    r->query = a->query;
    r->domain = group->raw ? 'r' : group->sample.flags & ISAN_OBJ_OBJECT ? 'o' : 'm';
    r->text_size = (uint32_t)text_size;
    strcpy(r->text, group->type);
    memcpy(r->text + text_size, group->pairs, pairs_size);
    isan__log_publish(r, ISAN_REC_LEAK);
    isan__log_path(r->id, &group->external.path);
    for (uint32_t i = 0; i < group->n_pairs; i++) {
        isan__finding_became_leak(group->pairs[2 * i + 1], r->id);
    }
    if (group->retainer == ISAN__RETAINER_interpreter) {
        record_retained(a, group);
    }
    else if (group->residue == ISAN__RESIDUE_none && group->root != 0) {
        record_retainer(a, group);
        record_retained(a, group);
        if (group->target != 0) {
            record_path(a, group);
        }
    }
}
