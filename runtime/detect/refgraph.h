/* What an interpreter left as a graph: its blocks, and who refers to them. */
#ifndef ISAN_DETECT_REFGRAPH_H
#define ISAN_DETECT_REFGRAPH_H

#include "runtime/base/table.h"
#include "runtime/core/block.h"
#include "runtime/core/kinds.h"
#include "runtime/detect/indirect_holder.h"

struct isan__node {
    char *start, *op;                       /* the block, its object (NULL: raw memory) */
    uint32_t found, own;                    /* references to it, but for the runtime's memory; how many of
                                             * them are its own */
    uint32_t limit;                         /* how much of it may refer, in bytes and 1; 0: all */
    uint32_t parent, at;                    /* claimed because of the word at `at` of that node */
    uint32_t outside;                       /* what outside the graph refers to it: index + 1 */
    uint8_t referred;                       /* by another node */
    uint8_t claimed;                        /* counted in a group */
    uint8_t silent;                         /* refers to nothing */
    uint8_t headed;                         /* pointed at behind its start */
    uint8_t through;                        /* a type is on the way to it */
};

/* Why a node is kept from outside the graph: by a static, or by a block of
 * another interpreter or of nobody. */
struct isan__external_ref {
    uint8_t keeper;                         /* enum isan__retainer: static, foreign, runtime */
    uint32_t count;                         /* of references by statics; the first one is: */
    struct isan_holder holder;
    struct isan__pointer_path behind;             /* the way from that, if it is one through memory */
    char *block, *op;                       /* whose word at `at` refers; op NULL: raw memory, */
    char *by;                               /* which this object points at, or NULL */
    char *runtime;                          /* memory of the runtime's that refers, too, */
    uint32_t at, runtime_at;                /* in the word there */
};

struct isan__graph {
    isan__slot_t slot;
    bool living;                            /* else it has ended */
    struct isan__node *nodes;               /* by address */
    size_t n, room;
    uint32_t *headed;                       /* raw memory to whose start no node refers */
    size_t n_headed;
    struct isan__external_ref *outside;
    size_t n_outside;
    struct isan__table regions;             /* address / REGION -> the first nodes of its buckets */
    struct isan__buckets *buckets;
    uint64_t region;                        /* looked for last, */
    uint32_t *first;                        /* and what was found */
    struct isan__table held;                /* block that a static refers to -> index in outside + 1 */
    struct isan__table process;             /* raw blocks that the runtime's statics lead to */
    struct isan__table owners;              /* raw block of another's -> object that points at it, or 1 */
    bool process_known;
    bool cut_short;                         /* isan__graph_behind() may have missed some */
    char *window;                           /* what was last read of other interpreters' memory */
    const char *window_from;
    size_t window_size;
    struct isan__shape *shapes;             /* of types */
};

/* For at most `room` blocks of slot, which lives (then this thread is in it) or
 * has ended; false: no memory. */
bool isan__graph_begin(struct isan__graph *g, isan__slot_t slot, bool living, size_t room);
void isan__graph_end(struct isan__graph *g);
/* First of all: what statics refer to. */
void isan__graph_statics(struct isan__graph *g);
/* Then the nodes, in address order; false: no room. */
bool isan__graph_add(struct isan__graph *g, char *block, char *op);
struct isan__node *isan__node_at(struct isan__graph *g, const void *start);     /* or NULL */
/* Count the references from nodes to nodes. */
void isan__graph_inside(struct isan__graph *g);
/* Those from memory that statics lead to and that is no interpreter's. */
void isan__graph_behind(struct isan__graph *g);
/* And those from the memory of all other interpreters, which takes its time. */
void isan__graph_others(struct isan__graph *g);
/* The nodes that node i refers to, perhaps itself. */
typedef void isan__edge_visitor(struct isan__graph *g, size_t from, uint32_t at, size_t to, void *arg);
void isan__each_reference(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg);
/* Has the type of a node's object (NULL: there is none) one of these flags? */
bool isan__type_has(struct isan__graph *g, const void *op, unsigned long flag);
/* The weak references to node i, which do not keep it; and is node i one, to
 * another node? */
void isan__each_weak(struct isan__graph *g, size_t i, isan__edge_visitor *visit, void *arg);
bool isan__weak_of(struct isan__graph *g, size_t i);
/* Is it raw memory that the runtime's statics lead to? */
bool isan__is_runtime_memory(struct isan__graph *g, const char *block);

#endif
