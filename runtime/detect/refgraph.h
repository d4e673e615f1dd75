/* The graph of the blocks that an interpreter left, or owns, and of the references to them.
 *
 * The steps, in order: isan__graph_begin(), isan__graph_add_static_refs(), isan__graph_add() for
 * each block, isan__graph_count_refs(), and as needed isan__graph_add_indirect_refs() and
 * isan__graph_add_foreign_refs(). */
#ifndef ISAN_DETECT_REFGRAPH_H
#define ISAN_DETECT_REFGRAPH_H

#include "runtime/core/block.h"
#include "runtime/core/kinds.h"
#include "runtime/detect/indirect_holder.h"

struct isan__node {
    char *start, *op;                       /* the block, its object (NULL: raw memory) */
    uint32_t n_refs;                        /* references to it that were found, outside the runtime's memory */
    uint32_t n_self_refs;                   /* those among them that it has itself */
    uint32_t scan_limit;                    /* bytes to scan for references, plus 1; 0 scans the whole block */
    uint32_t parent, at;                    /* it was claimed because of the word at `at` of the node `parent` */
    uint32_t external_ref;                  /* index in the graph's external_refs, plus 1; 0: none */
    uint8_t has_incoming;                   /* another node refers to it */
    uint8_t claimed;                        /* counted in a group */
    uint8_t no_outgoing;                    /* refers to nothing */
    uint8_t interior_target;                /* an object points into it, not at its start */
    uint8_t via_type;                       /* there is a type on the path to it */
};

/* A reference to a node from outside the graph: from a static, or from a block of another
 * interpreter or of none. */
struct isan__external_ref {
    uint8_t retainer;                       /* enum isan__retainer: static, foreign, runtime */
    uint32_t count;                         /* number of references from statics */
    struct isan_holder holder;              /* the first of these statics */
    struct isan__pointer_path path;         /* from that static to the node, if it leads through memory */
    char *block, *op;                       /* the block that has the reference; op NULL: raw memory */
    uint32_t at;                            /* offset of the reference in the block */
    char *via;                              /* the object that points at that raw memory, or NULL */
    char *runtime_block;                    /* memory of the runtime with another reference, or NULL */
    uint32_t runtime_at;                    /* offset of that reference */
};

struct isan__graph {
    isan__slot_t slot;
    bool living;                            /* else the interpreter has ended */
    struct isan__node *nodes;               /* by address */
    size_t n, room;
    uint32_t *interior_targets;             /* indices of raw memory without a reference to its start */
    size_t n_interior_targets;
    struct isan__external_ref *external_refs;
    size_t n_external_refs;
    struct isan__table regions;             /* address / REGION -> its buckets; a lost entry loses references */
    struct isan__buckets *buckets;
    uint64_t region;                        /* the last that was looked up */
    uint32_t *first;                        /* its buckets */
    struct isan__table static_refs;         /* block that a static refers to -> index in external_refs, plus 1; a
                                             * lost entry loses a holder */
    struct isan__table runtime_memory;      /* raw blocks that the runtime's statics lead to */
    bool runtime_memory_known;
    bool cut_short;                         /* the search for indirect references was given up */
    struct isan__table pointed_by;          /* another interpreter's raw block -> what points at it; a lost entry
                                             * loses a retainer */
    char *window;                           /* copy of other interpreters' memory */
    const char *window_from;
    size_t window_size;
    struct isan__type_shape *shapes;        /* cache, by type */
};

/* Makes a graph for at most `room` blocks of slot.  living: this thread is in that interpreter;
 * else the interpreter has ended.  False: no memory. */
bool isan__graph_begin(struct isan__graph *g, isan__slot_t slot, bool living, size_t room);
void isan__graph_end(struct isan__graph *g);
/* Finds the references from statics. */
void isan__graph_add_static_refs(struct isan__graph *g);
/* Adds a node; nodes are added in the order of their addresses.  False: no room. */
bool isan__graph_add(struct isan__graph *g, char *block, char *op);
/* Counts the references from nodes to nodes. */
void isan__graph_count_refs(struct isan__graph *g);
/* Finds the references from memory that is no interpreter's and that statics lead to. */
void isan__graph_add_indirect_refs(struct isan__graph *g);
/* Finds the references from the memory of all other interpreters, slowly. */
void isan__graph_add_foreign_refs(struct isan__graph *g);

struct isan__node *isan__graph_node(struct isan__graph *g, const void *start);      /* or NULL */
/* Visits the nodes that node i refers to; it may be among them. */
typedef void isan__edge_visitor(struct isan__graph *g, size_t from, uint32_t at, size_t to, void *arg);
void isan__graph_visit_refs(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg);
/* Visits the weak references to node i, which do not keep it alive. */
void isan__graph_visit_weakrefs(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg);
/* Is node i a weak reference to a node? */
bool isan__graph_is_weakref(struct isan__graph *g, size_t i);
/* Has the type of a node's object (NULL: there is none) one of these flags? */
bool isan__graph_type_has(struct isan__graph *g, const void *op, unsigned long flag);
/* Is it raw memory that the runtime's statics lead to? */
bool isan__graph_is_runtime_memory(struct isan__graph *g, const char *block);
/* The nodes are sorted and do not overlap, and their indices are in range. */
bool isan__graph_is_consistent(const struct isan__graph *g);

/* For refgraph_external.c. */
enum { ISAN__GRAPH_WINDOW = 1 << 16, ISAN__GRAPH_MAX_EXTERNAL = 1 << 18 };
/* The block or object of the interpreter that a word may refer to, or NULL. */
const char *isan__graph_target(const struct isan__graph *g, uint64_t word);
/* The node that a word refers to, or NULL. */
struct isan__node *isan__graph_referred_node(struct isan__graph *g, uint64_t word);
/* Is the word at this offset in an object of this type a link that keeps nothing alive? */
bool isan__graph_is_link(struct isan__graph *g, const void *type, ptrdiff_t at);
/* A copy of `size` bytes of memory that may be unmapped at any moment; NULL: it was.  The next call
 * may overwrite the copy. */
const char *isan__graph_copy(struct isan__graph *g, const char *from, size_t size);

#endif
