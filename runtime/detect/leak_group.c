/* Groups of leaks: see leak_group.h. */
#include "runtime/detect/leak_group.h"

#include "runtime/core/block_notes.h"
#include "runtime/core/finding.h"

const char *
isan__leak_type_name(struct isan__leak_analysis *a, const char *op)
{
    if (op == NULL) {
        return "";
    }
    const void *type = isan__object_type(op);
    size_t i = ((uintptr_t)type >> 4) % (sizeof a->names / sizeof *a->names);
    if (a->names[i].type != type) {
        isan__type_name_or_unknown(op, a->names[i].name, sizeof a->names[i].name);
        a->names[i].type = type;
    }
    return a->names[i].name;
}

/* What the roots of a group have in common. */
struct group_key {
    uint64_t type_name, holder, tls, via_type;
    uint32_t origin, flags, residue, raw, retainer, via_origin;
};

static void
set_retainer_key(struct group_key *key, const struct isan_object *root, const struct isan__external_ref *external,
                 uint32_t retainer)
{
    key->holder = external->holder.address;
    key->tls = external->holder.tls;
    key->origin = root->origin;
    key->flags = root->flags & (ISAN_OBJ_OBJECT | ISAN_OBJ_ORIGIN_STACK);
    key->retainer = retainer;
    if (external->block != NULL) {
        struct isan_object via;
        char *op = external->op ? external->op : external->via;
        isan__describe_object(&via, op ? op : external->block, op ? isan__block_of(op) : external->block);
        key->via_origin = via.origin;
        isan__peek(&key->via_type, op ? op + ISAN__OB_TYPE : NULL, sizeof key->via_type);
    }
}

struct isan__leak_group *
isan__leak_find_group(struct isan__leak_analysis *a, char *block, char *op,
                      const struct isan__external_ref *external, uint32_t retainer, uint32_t residue)
{
    struct isan_object root;
    const char *type = isan__leak_type_name(a, op);
    isan__describe_object(&root, op ? op : block, block);
    struct group_key key = {
        .type_name = isan__hash(type, strlen(type), 0), .residue = residue,
        .raw = isan__load_tag(block) & ISAN__RAW,
    };
    if (residue == ISAN__RESIDUE_none) {
        set_retainer_key(&key, &root, external, retainer);
    }
    uint64_t hash = isan__table_key(ISAN__KEY_HASH, &key, sizeof key);
    size_t i = isan__table_get(&a->group_index, hash);
    if (i == 0) {
        if (a->n_groups == ISAN__LEAK_MAX_GROUPS) {
            a->n_dropped++;
            return NULL;
        }
        i = ++a->n_groups;
        isan__table_put_or_drop(&a->group_index, hash, i);
        struct isan__leak_group *group = &a->groups[i - 1];
        group->id = isan__next_finding_id();
        group->sample = root;
        group->external = *external;
        group->residue = residue;
        group->retainer = retainer;
        group->raw = key.raw;
        strcpy(group->type, type);
    }
    return &a->groups[i - 1];
}

void
isan__leak_add_findings(struct isan__leak_group *group, char *block, bool is_root)
{
    uint32_t serial = isan__noted_serial(block), ids[8];
    int n = serial ? isan__findings_of_object(serial, ids, 8) : 0;
    if (n > 0 && is_root && group->n_pairs == 0) {
        /* The report can say most about a root with findings: it becomes the sample. */
        isan__describe_object(&group->sample, (void *)(uintptr_t)(group->sample.flags & ISAN_OBJ_OBJECT
            ? isan__object_in(block) : block), block);
    }
    for (int i = 0; i < n && group->n_pairs < ISAN__LEAK_MAX_PAIRS; i++) {
        group->pairs[2 * group->n_pairs] = serial;
        group->pairs[2 * group->n_pairs + 1] = ids[i];
        group->n_pairs++;
    }
}

void
isan__leak_add_retained(struct isan__leak_analysis *a, struct isan__leak_group *group, size_t i)
{
    const struct isan__node *node = &a->graph.nodes[i];
    uint64_t size = isan__block_size(node->start);
    struct { uint64_t type, group; } key = {
        node->op ? (uint64_t)isan__object_type(node->op) : 0, (uint64_t)(group - a->groups),
    };
    uint64_t hash = isan__table_key(ISAN__KEY_HASH, &key, sizeof key);
    size_t k = isan__table_get(&a->retained_index, hash);
    group->retained++;
    group->retained_bytes += size;
    if (k == 0) {
        if (a->n_retained_types == ISAN__LEAK_MAX_RETAINED) {
            return;
        }
        k = ++a->n_retained_types;
        isan__table_put_or_drop(&a->retained_index, hash, k);
        a->retained_types[k - 1] = (struct isan__retained_type){
            .type = (void *)key.type, .first = (uint32_t)i + 1, .next = group->types,
        };
        group->types = (uint32_t)k;
    }
    a->retained_types[k - 1].count++;
    a->retained_types[k - 1].bytes += size;
}

bool
isan__leak_counts_are_consistent(const struct isan__leak_analysis *a)
{
    uint64_t n = a->n_freed;
    for (size_t i = 0; i < a->n_groups; i++) {
        n += a->groups[i].count + a->groups[i].retained;
    }
    return a->n_dropped != 0 || n == a->n_blocks;
}
