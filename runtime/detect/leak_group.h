/* Groups of leaks: roots of one type, creation site and retainer, with what they keep alive. */
#ifndef ISAN_DETECT_LEAK_GROUP_H
#define ISAN_DETECT_LEAK_GROUP_H

#include "runtime/detect/refgraph.h"

enum { ISAN__LEAK_MAX_PAIRS = 16, ISAN__LEAK_MAX_GROUPS = 1 << 16, ISAN__LEAK_MAX_RETAINED = 1 << 18 };

struct isan__leak_group {
    struct isan_object sample;
    uint64_t count, bytes;                  /* the roots */
    uint64_t retained, retained_bytes;      /* what they keep alive */
    uint64_t unexplained_refs;              /* of the roots */
    struct isan__external_ref external;
    uint32_t id, residue, retainer, raw;
    uint32_t root;                          /* node of the sample, plus 1; 0: there is none */
    uint32_t target;                        /* node of a sample of what it keeps, plus 1; 0: there is none */
    uint32_t types;                         /* the last of its types in retained_types, plus 1 */
    uint32_t n_pairs, pairs[2 * ISAN__LEAK_MAX_PAIRS];      /* serial of an object, id of a finding about it */
    char type[128];
};

/* What a group keeps alive of one type. */
struct isan__retained_type {
    const void *type;                       /* NULL: raw memory */
    uint64_t count, bytes;
    uint32_t first;                         /* the first such node, plus 1 */
    uint32_t next;                          /* the next type of the group, plus 1; 0: it is the last */
};

struct isan__leak_analysis {
    struct isan__graph graph;
    uint32_t *queue;                        /* the nodes claimed for one root; room for all nodes */
    size_t n_queued;
    struct isan__leak_group *groups;
    size_t n_groups;
    struct isan__retained_type *retained_types;
    size_t n_retained_types;
    uint32_t n_blocks, n_freed, n_dropped;  /* all blocks; those that are quarantined, or in no group */
    uint32_t query;                         /* number of this query about a living interpreter; 0: it has ended */
    struct isan__table group_index;         /* key -> index in groups, plus 1; a lost entry splits a group */
    struct isan__table retained_index;      /* key -> index in retained_types, plus 1; likewise */
    struct isan__table reasons;             /* keys of the recorded reasons; a lost entry records one twice */
    bool allocator_is_wrapped;              /* tracemalloc is on */
    bool found_collectable;                 /* see suspicion() */
    struct { const void *type; char name[128]; } names[256];
};

/* The type name of the object at op, which is readable; its type need not be.  op NULL: "". */
const char *isan__leak_type_name(struct isan__leak_analysis *a, const char *op);
/* The group of a root: a new one if there is none yet.  NULL: there are too many. */
struct isan__leak_group *isan__leak_find_group(struct isan__leak_analysis *a, char *block, char *op,
    const struct isan__external_ref *external, uint32_t retainer, uint32_t residue);
/* Pairs the findings about a block with the group. */
void isan__leak_add_findings(struct isan__leak_group *group, char *block, bool is_root);
/* Counts node i, which the group keeps alive. */
void isan__leak_add_retained(struct isan__leak_analysis *a, struct isan__leak_group *group, size_t i);
/* Is every block in exactly one group, or quarantined? */
bool isan__leak_counts_are_consistent(const struct isan__leak_analysis *a);

#endif
