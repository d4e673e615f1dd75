/* What tp_traverse of extension types visits: see gc_survey.h.
 *
 * tp_traverse can only be called while its interpreter runs.  gc_visibility.c uses the result when
 * an instance has been left behind.
 */
#include "runtime/detect/gc_survey.h"

#include "runtime/base/options.h"
#include "runtime/base/scan.h"
#include "runtime/base/table.h"
#include "runtime/core/block.h"

enum {
    MAX_TYPES = 512, CACHED = 4096, BASES = 64,
    MAX_INSTANCES = 64,                     /* of a type */
    MAX_VISITED = 1024,                     /* objects by one instance, else it is passed over */
};

struct visit_survey {
    isan__slot_t slot;
    size_t n;
    struct isan__type_visits types[MAX_TYPES];
    struct { const void *type; struct isan__type_visits *visits; } cached[CACHED];
    size_t n_visited;                       /* by the instance at hand */
    const void *visited[MAX_VISITED];
};
/* Slot -> struct visit_survey.  Without an entry a leak has fewer reasons. */
static struct isan__table surveys = ISAN__TABLE;

/* The first extension type among `type` and its bases.  A heap type of the runtime is a class made
 * in Python, or like one. */
void
isan__find_native_type(struct isan__native_type *native, const void *type)
{
    struct isan__type_object t, first_static = { 0 };
    const char *first_static_at = NULL;
    native->traverse = ISAN__TRAVERSE_BY_RUNTIME;
    native->start = ISAN__OB_HEAD;
    /* Static types of the runtime are the last among the bases. */
    const void *p = type;
    for (int i = 0; i < BASES && isan__read_type(&t, p); i++, p = t.base) {
        if (!(t.flags & ISAN__TYPE_HEAP) && first_static.name == NULL) {
            first_static = t;
            first_static_at = p;
        }
        if (isan__runtime_has((uint64_t)p)) {
            native->start = (size_t)t.basicsize;
            break;
        }
    }
    p = type;
    for (int i = 0; i < BASES && isan__read_type(&t, p) && !isan__runtime_has((uint64_t)p); i++, p = t.base) {
        if (!(t.flags & ISAN__TYPE_HAVE_GC)) {
            native->traverse = isan__runtime_runs(t.dealloc) ? ISAN__TRAVERSE_BY_RUNTIME : ISAN__TRAVERSE_NONE;
        }
        else if (t.traverse != NULL && !isan__runtime_runs(t.traverse)) {
            native->traverse = ISAN__TRAVERSE_OWN;
        }
        else if (p != first_static_at && t.traverse != NULL && t.traverse == first_static.traverse) {
            native->traverse = ISAN__TRAVERSE_INHERITED;      /* no static type has subtype_traverse */
        }
        if (native->traverse != ISAN__TRAVERSE_BY_RUNTIME) {
            native->address = p;
            native->type = t;
            return;
        }
    }
}

/* --- what a word of an instance refers to --------------------------------------------------- */

/* The object of this interpreter that a word refers to, if the collector can track it; else
 * NULL. */
static const char *
collectable_object(isan__slot_t slot, uint64_t word)
{
    if (!isan__may_point_at_block(word)) {
        return NULL;
    }
    uint32_t tag = isan__load_tag((void *)word);
    if ((isan__slot_t)tag != slot || !isan__may_start_object(tag)) {
        return NULL;
    }
    char *block = isan__block_of((void *)word);
    const char *op = block == NULL || isan__load_tag(block) & ISAN__FREED ? NULL : isan__object_in(block);
    int32_t count;                          /* 0: in a free list; less: immortal */
    if (op != (const char *)word || (memcpy(&count, op, sizeof count), count <= 0)
        || !(isan__type_flags(isan__object_type(op)) & ISAN__TYPE_HAVE_GC)) {
        return NULL;
    }
    return op;
}

size_t
isan__referred_memory_size(isan__slot_t slot, uint64_t word)
{
    if (!isan__may_point_at_block(word)) {
        return 0;
    }
    uint32_t tag = isan__load_tag((void *)word);
    if ((isan__slot_t)tag != slot || !(tag & ISAN__START) || tag & ISAN__FREED
        || isan__object_in((char *)word) != NULL) {
        return 0;
    }
    size_t size = isan__block_size((void *)word);
    return size < ISAN__MAX_WORDS * sizeof(uint64_t) ? size : ISAN__MAX_WORDS * sizeof(uint64_t);
}

/* A search for an object for which `is` holds. */
struct object_search {
    isan__slot_t slot;
    const char *op;                         /* the instance */
    isan__object_predicate *is;
    void *arg;
    const char *found;
};

static bool
search_object(size_t at, uint64_t word, void *arg)
{
    struct object_search *search = arg;
    const char *object = collectable_object(search->slot, word);
    (void)at;
    if (object != NULL && search->is(search->op, object, search->arg)) {
        search->found = object;
    }
    return search->found == NULL;
}

const char *
isan__find_referred(isan__slot_t slot, const char *op, uint64_t word, isan__object_predicate *is, void *arg)
{
    struct object_search search = { .slot = slot, .op = op, .is = is, .arg = arg };
    const char *object = collectable_object(slot, word);
    if (object != NULL) {
        return is(op, object, arg) ? object : NULL;
    }
    isan__scan_words((const void *)word, isan__referred_memory_size(slot, word), 0, search_object, &search);
    return search.found;
}

size_t
isan__scan_end(const char *op, size_t end)
{
    char *block = isan__block_of(op);
    size_t most = block == NULL ? 0 : isan__block_size(block) - (size_t)(op - block);
    end = end < most ? end : most;
    return end < ISAN__MAX_WORDS * sizeof(uint64_t) ? end : ISAN__MAX_WORDS * sizeof(uint64_t);
}

/* --- what tp_traverse visits --------------------------------------------------------- */

static int
note_visit(void *object, void *arg)         /* visitproc */
{
    struct visit_survey *survey = arg;
    if (survey->n_visited == MAX_VISITED) {
        return 1;
    }
    survey->visited[survey->n_visited++] = object;
    return 0;
}

static bool
is_visited(const char *op, const char *object, void *arg)
{
    const struct visit_survey *survey = arg;
    (void)op;
    for (size_t i = 0; i < survey->n_visited; i++) {
        if (survey->visited[i] == object) {
            return true;
        }
    }
    return false;
}

static bool
is_not_visited(const char *op, const char *object, void *arg)
{
    return object != isan__object_type(op)      /* misses_type has that */
        && !is_visited(op, object, arg);
}

static bool
misses_word(struct visit_survey *survey, const char *op, uint64_t word)
{
    const char *object = collectable_object(survey->slot, word);
    return object != NULL && is_not_visited(op, object, survey);
}

/* Would PyObject_VisitManagedDict visit something that was not visited?  In 3.12 the pointer to
 * the values is marked, and that to a dictionary is not. */
static bool
misses_dict(struct visit_survey *survey, const char *op, unsigned long flags, size_t basicsize)
{
    uint64_t word;
    if (flags & ISAN__TYPE_INLINE_VALUES) {
        const uint8_t *values = (const uint8_t *)op + basicsize;
        for (size_t i = 0; values[ISAN__VALUES_VALID] && i < values[ISAN__VALUES_CAPACITY]; i++) {
            memcpy(&word, values + isan__py.values_header + sizeof word * i, sizeof word);
            if (misses_word(survey, op, word)) {
                return true;
            }
        }
    }
    memcpy(&word, op + ISAN__MANAGED_DICT, sizeof word);
    return misses_word(survey, op, word);
}

/* A scan of the members of one instance. */
struct member_scan {
    struct visit_survey *survey;
    struct isan__type_visits *visits;
    const char *op;
    int64_t weaklist;
};

static void
add_unvisited(struct isan__type_visits *visits, size_t at)
{
    for (uint32_t i = 0; i < visits->n_unvisited; i++) {
        if (visits->unvisited[i] == at) {
            return;
        }
    }
    visits->unvisited[visits->n_unvisited++] = (uint32_t)at;
}

static bool
compare_member(size_t at, uint64_t word, void *arg)
{
    const struct member_scan *scan = arg;
    struct isan__type_visits *visits = scan->visits;
    isan__slot_t slot = scan->survey->slot;
    if (isan__find_referred(slot, scan->op, word, is_visited, scan->survey) != NULL) {
        visits->visited[at / 8 / 64] |= 1ull << at / 8 % 64;
    }
    /* The instance does not own its weak references. */
    else if ((int64_t)at != scan->weaklist && visits->n_unvisited != ISAN__MAX_UNVISITED
             && isan__find_referred(slot, scan->op, word, is_not_visited, scan->survey) != NULL) {
        add_unvisited(visits, at);
    }
    return true;
}

/* Calls tp_traverse of an instance and compares what it visits with its members. */
static void
survey_instance(struct visit_survey *survey, struct isan__type_visits *visits, char *op)
{
    const struct isan__type_object *type = isan__object_type(op);
    int (*traverse)(void *, int (*)(void *, void *), void *);
    survey->n_visited = 0;
    memcpy(&traverse, &type->traverse, sizeof traverse);
    if (traverse == NULL || traverse(op, note_visit, survey) != 0) {
        return;
    }
    visits->n_instances++;
    visits->misses_type |= visits->heap && !is_visited(op, (const char *)type, survey);
    visits->misses_dict |= visits->managed_dict
        && misses_dict(survey, op, type->flags, (size_t)type->basicsize);
    size_t end = visits->end;
    if (visits->itemsize != 0) {
        int64_t n;
        memcpy(&n, op + ISAN__OB_SIZE, sizeof n);
        end += n > 0 ? visits->itemsize * (size_t)n : 0;
    }
    end = isan__scan_end(op, end);
    struct member_scan scan = { survey, visits, op, type->weaklistoffset };
    if (end > visits->start) {
        isan__scan_words(op + visits->start, end - visits->start, visits->start, compare_member, &scan);
    }
}

/* The entry of a type; NULL: it has no tp_traverse of an extension's. */
static struct isan__type_visits *
visits_of_type(struct visit_survey *survey, const void *type)
{
    struct isan__native_type native;
    for (size_t i = 0; i < survey->n; i++) {
        if (survey->types[i].type == type) {
            return &survey->types[i];
        }
    }
    isan__find_native_type(&native, type);
    if (native.traverse != ISAN__TRAVERSE_OWN || survey->n == MAX_TYPES) {
        return NULL;
    }
    struct isan__type_visits *visits = &survey->types[survey->n++];
    *visits = (struct isan__type_visits){
        .type = type, .traverse = native.type.traverse,
        .start = native.start, .end = (size_t)native.type.basicsize,
        .itemsize = native.address == type ? (size_t)native.type.itemsize : 0,
        /* For a class made in Python with a static base, subtype_traverse visits the type. */
        .heap = (native.type.flags & ISAN__TYPE_HEAP) != 0,
        .managed_dict = isan__py.visits_managed_dict && native.type.flags & ISAN__TYPE_MANAGED_DICT,
    };
    return visits;
}

/* Where no object is marked (a stock Python before 3.13), something else may look like an
 * instance; then it is not in the collector's list. */
static void
survey_candidate(struct visit_survey *survey, struct isan__type_visits *visits, char *op)
{
    if (visits->n_instances == MAX_INSTANCES || *(int32_t *)op == 0) {
        return;
    }
    if (isan__gc_next(op) == 0) {
        visits->untracked = true;
    }
    else if (isan__is_in_gc_list(op)) {
        visits->tracked = true;
        survey_instance(survey, visits, op);
    }
}

/* Surveys what may be an object at op.  False: it is none. */
static bool
survey_object(struct visit_survey *survey, char *block, char *op)
{
    const void *type = isan__object_type(op);
    size_t i = ((uintptr_t)type >> 4) % CACHED;
    bool known = type != NULL && survey->cached[i].type == type;
    struct isan__type_visits *visits = known ? survey->cached[i].visits : NULL;
    if (known && (visits == NULL || visits->n_instances == MAX_INSTANCES)) {
        return true;
    }
    if (isan__object_in(block) != op) {
        return false;
    }
    if (!known) {
        survey->cached[i].type = type;
        survey->cached[i].visits = visits = visits_of_type(survey, type);
    }
    if (visits != NULL) {
        survey_candidate(survey, visits, op);
    }
    return true;
}

static void
survey_block(char *block, void *arg)
{
    struct visit_survey *survey = arg;
    if (isan__load_tag(block) & (ISAN__FREED | ISAN__RAW)) {
        return;
    }
    char *marked = isan__marked_object_in(block);
    size_t size = isan__block_size(block);
    for (size_t at = 0; at <= 2 * ISAN__GRANULE && at + ISAN__OB_HEAD <= size; at += ISAN__GRANULE) {
        char *op = block + at;
        if (marked != NULL ? marked != op : !isan__stock || !isan__may_be_object(op)) {
            continue;
        }
        if (isan__runtime_has((uint64_t)isan__object_type(op))) {
            return;
        }
        /* At the start of its block it has no PyGC_Head. */
        if (at != 0 && survey_object(survey, block, op)) {
            return;
        }
    }
}

void
isan__survey_traverse(isan__slot_t slot)
{
    struct visit_survey *survey = isan__options.leaks ? isan__map(sizeof *survey) : NULL;
    if (survey == NULL) {
        return;                             /* then only types' flags give reasons */
    }
    uint64_t since = isan__now();
    survey->slot = slot;
    isan__survey_forget(slot);
    isan__visit_blocks(slot, survey_block, survey);
    ISAN__TRACE(1, "interpreter %lld: called tp_traverse of %zu types in %.1f ms",
                (long long)isan__interp_of(slot)->id, survey->n, (double)(isan__now() - since) / 1e6);
    if (survey->n == 0 || !isan__table_put(&surveys, slot, (uint64_t)survey)) {
        isan__unmap(survey, sizeof *survey);
    }
}

void
isan__survey_forget(isan__slot_t slot)
{
    isan__unmap((void *)isan__table_take(&surveys, slot), sizeof(struct visit_survey));
}

void
isan__survey_interp_ended(struct isan__interp_end *end)
{
    isan__survey_forget(end->slot);
}

const struct isan__type_visits *
isan__survey_find(isan__slot_t slot, const void *type, const void *traverse)
{
    const struct visit_survey *survey = (const void *)isan__table_get(&surveys, slot);
    for (size_t i = 0; survey != NULL && i < survey->n; i++) {
        if (survey->types[i].type == type && survey->types[i].traverse == traverse) {
            return &survey->types[i];
        }
    }
    return NULL;
}
