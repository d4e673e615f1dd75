/* Findings: the one place where they are made.
 *
 * A finding is a pipeline: the object is read into a view, rules excuse it or not, a
 * detector names the holder, and isan__finding_make() writes the record.  The same
 * finding again only counts. */
#ifndef ISAN_CORE_FINDING_H
#define ISAN_CORE_FINDING_H

#include "runtime/core/block.h"
#include "runtime/core/kinds.h"
#include "runtime/core/thread.h"

struct isan__finding {
    int kind, access;                       /* enum isan__kind, isan__access */
    uint64_t key;                           /* isan__table_key(): the same for the same finding */
    const char *type;                       /* a type, or what the kind has instead; "": raw memory */
    struct isan_holder holder;              /* address 0: none */
    uint32_t current;                       /* serial of the interpreter that used it */
    uint32_t stack;                         /* 0: this thread's stack, recorded now */
    const struct isan__object_view *view;   /* the object; NULL: `object` has its description */
    struct isan_object object;
};
/* The finding with this key, or NULL. */
struct isan_rec_finding *isan__finding_known(uint64_t key);
/* Writes the record, with count 1.  NULL: the log is full. */
struct isan_rec_finding *isan__finding_make(const struct isan__finding *finding);
/* One more of it.  view: the object, NULL: none. */
void isan__finding_again(struct isan_rec_finding *finding, const struct isan__object_view *view);
/* The finding has another key as well. */
void isan__finding_add_key(struct isan_rec_finding *finding, uint64_t key);
/* One more place of a finding.  NULL: the log is full. */
struct isan_rec_place *isan__finding_add_place(const struct isan_rec_place *place, const char *text);

uint32_t isan__next_finding_id(void);       /* leaks share the numbering */
int isan__finding_kind(uint32_t id);        /* enum isan__kind; -1: there is none of that number */
void isan__findings_forked(int unused);     /* subscriber: the records belong to the parent's log */

/* --- objects in findings --- */

/* The serial of the object in the block: it gets one if it has none. */
uint32_t isan__object_serial(char *block);
/* Describes the object at op as records do. */
void isan__describe_object(struct isan_object *to, const void *op, char *block);
/* Ids of the findings about an object; returns how many. */
int isan__findings_of_object(uint32_t object_serial, uint32_t *ids, int max);
/* The finding's object has leaked; the block has leaked, and later findings may be about it. */
void isan__finding_became_leak(uint32_t finding, uint32_t leak);
void isan__block_leaked(char *block, uint32_t leak);

/* --- isan_ignore_begin() --- */

bool isan__ignore_finding(void);            /* counts a finding for the innermost reason; true */
/* Is this thread in a scope of isan_ignore_begin()?  Then the finding that it is about to make is
 * counted there instead. */
static inline bool
isan__ignores(void)
{
    return ISAN__UNLIKELY(isan__self.ignoring != 0) && isan__ignore_finding();
}

#endif
