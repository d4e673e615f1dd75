/* References that the garbage collector cannot see, because the tp_traverse of an extension's
 * type does not visit them.
 *
 * As an interpreter begins to end, gc_survey.c calls tp_traverse of instances of each such type, as
 * the collector does (Python/gc.c, subtract_refs).  It compares what tp_traverse visits with the
 * pointers in the instance, and notes those that are not visited.  Such a pointer may be borrowed.
 * It is a reason if the instance was left behind in a cycle and the object that it points at needs
 * all references that were found to it, this one included.
 *
 * Two parts of an instance are the runtime's to visit: what a base type of the runtime has in it,
 * and the slots and attributes of a class made in Python (Objects/typeobject.c,
 * subtype_traverse), which calls tp_traverse of the extension's base type.
 */
#include "runtime/detect/gc_visibility.h"

#include "runtime/base/scan.h"
#include "runtime/core/block.h"
#include "runtime/cpython/reference_name.h"
#include "runtime/detect/gc_survey.h"

/* A question about one object, and the answer. */
struct cycle_query {
    isan__slot_t slot;
    isan__ref_counter *count_refs;
    void *arg;
    const char *op, *block;
    const struct isan__native_type *native;
    struct isan__gc_reason *to;
    int n, max;
};

/* Where the end of an interpreter untracks the objects that are left (untracks_at_end), it also
 * gives each one more reference.  An object that was not tracked before looks the same. */
uint32_t
isan__reference_count(const char *op)
{
    const char *block = isan__block_of(op);
    uint32_t count;
    memcpy(&count, op, sizeof count);
    bool more = isan__py.untracks_at_end && block != NULL && op - block >= ISAN__GRANULE && count > 1
        && (isan__slot_t)isan__load_tag(block) != isan__main_slot
        && isan__interp_of((isan__slot_t)isan__load_tag(block))->ended
        && isan__type_flags(isan__object_type(op)) & ISAN__TYPE_HAVE_GC
        && isan__gc_next(op) == 0;
    return count - more;
}

struct word_count { uint64_t word; uint32_t n; };

static bool
count_word(size_t at, uint64_t word, void *arg)
{
    struct word_count *count = arg;
    (void)at;
    count->n += word == count->word;
    return true;
}

/* Does the object need all references that were found to it, the one from op included? */
static bool
needs_all_refs(const char *op, const char *object, void *arg)
{
    const struct cycle_query *query = arg;
    struct word_count own = { (uint64_t)op, 0 };
    if (object == op) {
        size_t size = isan__block_size(query->block) - (size_t)(op - query->block);
        isan__scan_words(op, size, 0, count_word, &own);
    }
    return object != isan__object_type(op)
        && isan__reference_count(object) >= query->count_refs(object, query->arg) + own.n;
}

/* The object that op owns through this word.  The word refers to the object, or to memory that
 * refers to it and that nothing else points at.  All instances point at the state of their module:
 * that is not theirs. */
static const char *
find_owned(struct cycle_query *query, uint64_t word)
{
    if (isan__referred_memory_size(query->slot, word) != 0 && query->count_refs((void *)word, query->arg) > 1) {
        return NULL;
    }
    return isan__find_referred(query->slot, query->op, word, needs_all_refs, query);
}

static void
add_reason(struct cycle_query *query, enum isan__reason reason, size_t at, const char *target, const char *member)
{
    if (query->n == query->max) {
        return;
    }
    struct isan__gc_reason *why = &query->to[query->n++];
    const struct isan__type_object *type = &query->native->type;
    memset(why, 0, sizeof *why);
    why->reason = reason;
    why->basicsize = (uint32_t)type->basicsize;
    why->offset = at;
    why->code = (uint64_t)(reason == ISAN__REASON_no_gc || type->traverse == NULL
        ? type->dealloc : type->traverse);
    if (!isan__peek_string(why->type, type->name, sizeof why->type)) {
        strcpy(why->type, "?");
    }
    if (target != NULL) {
        isan__type_name_or_unknown(target, why->target, sizeof why->target);
    }
    if (member != NULL) {
        strcpy(why->member, member);
    }
    else if (at != 0) {
        isan__member_name(why->member, sizeof why->member, isan__object_type(query->op), (ptrdiff_t)at);
    }
}

static bool
explain_member(size_t at, uint64_t word, void *arg)
{
    struct cycle_query *query = arg;
    const char *object = (int64_t)at == query->native->type.weaklistoffset ? NULL : find_owned(query, word);
    if (object != NULL) {
        add_reason(query, ISAN__REASON_no_gc, at, object, NULL);
    }
    return object == NULL;
}

/* The type takes no part in garbage collection.  The first member that it should visit says
 * most. */
static void
explain_no_gc(struct cycle_query *query)
{
    const struct isan__native_type *native = query->native;
    size_t start = native->start, end = isan__scan_end(query->op, (size_t)native->type.basicsize);
    bool none = end <= start || isan__scan_words(query->op + start, end - start, start, explain_member, query);
    if (none && native->type.flags & ISAN__TYPE_HEAP) {
        add_reason(query, ISAN__REASON_no_gc, 0, NULL, NULL);
    }
}

static void
explain_unvisited(struct cycle_query *query, const struct isan__type_visits *visits)
{
    for (uint32_t i = 0; i < visits->n_unvisited; i++) {
        size_t at = visits->unvisited[i];
        /* A member that another instance's tp_traverse visited is not missed. */
        if (visits->visited[at / 8 / 64] >> at / 8 % 64 & 1 || isan__scan_end(query->op, at + 8) < at + 8) {
            continue;
        }
        uint64_t word;
        memcpy(&word, query->op + at, sizeof word);
        const char *object = find_owned(query, word);
        if (object != NULL) {
            add_reason(query, ISAN__REASON_no_visit_member, at, object, NULL);
        }
    }
    if (visits->misses_dict) {
        add_reason(query, ISAN__REASON_no_visit_member, 0, NULL, "__dict__");
    }
    if (visits->misses_type) {
        add_reason(query, ISAN__REASON_no_visit_type, 0, NULL, NULL);
    }
}

static void
explain_traverse(struct cycle_query *query, const struct isan__type_visits *visits)
{
    switch (query->native->traverse) {
    case ISAN__TRAVERSE_BY_RUNTIME:
        break;
    case ISAN__TRAVERSE_NONE:
        explain_no_gc(query);
        break;
    case ISAN__TRAVERSE_INHERITED:
        add_reason(query, ISAN__REASON_no_visit_type, 0, NULL, NULL);
        break;
    case ISAN__TRAVERSE_OWN:
        if (visits != NULL) {
            explain_unvisited(query, visits);
        }
        if (query->native->type.clear == NULL) {
            add_reason(query, ISAN__REASON_no_clear, 0, NULL, NULL);
        }
        break;
    }
}

/* Was the object never given to the collector?  Where the end of an interpreter untracks all
 * objects, that is known only if no instance of the type was tracked before. */
static bool
was_never_tracked(const char *op, const struct isan__type_visits *visits)
{
    return isan__gc_next(op) == 0
        && (!isan__py.untracks_at_end || (visits != NULL && visits->untracked && !visits->tracked));
}

static bool
is_finalized(const char *op)
{
    uint64_t prev;
    memcpy(&prev, op + ISAN__GC_PREV, sizeof prev);
    return (prev & ISAN__GC_PREV_FINALIZED) != 0;
}

int
isan__gc_reasons(const char *op, isan__ref_counter *count_refs, void *arg, struct isan__gc_reason *to, int max)
{
    struct isan__native_type native;
    struct isan__type_object type;
    const char *block = isan__block_of(op);
    if (block == NULL || *(const int32_t *)op <= 0 || !isan__read_type(&type, isan__object_type(op))) {
        return 0;
    }
    isan__find_native_type(&native, isan__object_type(op));
    struct cycle_query query = {
        .slot = (isan__slot_t)isan__load_tag(block), .count_refs = count_refs, .arg = arg,
        .op = op, .block = block, .native = &native, .to = to, .max = max,
    };
    const struct isan__type_visits *visits = native.traverse == ISAN__TRAVERSE_OWN
        ? isan__survey_find(query.slot, isan__object_type(op), native.type.traverse) : NULL;
    bool gc = type.flags & ISAN__TYPE_HAVE_GC && op - block >= ISAN__GRANULE;
    explain_traverse(&query, visits);
    if (native.traverse != ISAN__TRAVERSE_BY_RUNTIME && gc && was_never_tracked(op, visits)) {
        add_reason(&query, ISAN__REASON_untracked, 0, NULL, NULL);
    }
    if (query.n == 0 && gc && is_finalized(op) && type.finalize != NULL
        && !isan__runtime_has((uint64_t)isan__object_type(op))) {
        native.type = type;
        add_reason(&query, ISAN__REASON_resurrected, 0, NULL, NULL);
    }
    return query.n;
}
