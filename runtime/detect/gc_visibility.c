/* References that the garbage collector cannot see, because an extension's
 * tp_traverse does not show them.
 *
 * As an interpreter begins to end, instances of each such type are asked for
 * what they show, as the collector does (Python/gc.c, subtract_refs), and that
 * is compared with the pointers in them.  A pointer that is not shown proves
 * nothing yet: it may be borrowed.  So it is only remembered, and counts when
 * the instance has been left behind in a cycle: what it points at needs all
 * references that are found to it, or it would have fewer.
 *
 * What a base of the runtime's has in an instance is the runtime's business,
 * and so are the slots and attributes of a class made in Python
 * (Objects/typeobject.c, subtype_traverse), but that asks the extension's type
 * below it.
 */
#include "runtime/detect/gc_visibility.h"

#include "runtime/base/options.h"
#include "runtime/base/table.h"
#include "runtime/core/block.h"
#include "runtime/cpython/reference_name.h"

enum {
    TYPES = 512, CACHED = 4096,
    LOOKED = 64,                            /* instances of a type */
    MISSED = 16,                            /* members of a type */
    SHOWN = 1024,                           /* by one instance, else it is passed over */
    WORDS = 512,                            /* of one instance, or of memory it points at */
    BASES = 64,
};
/* Include/internal/pycore_gc.h, PyGC_Head: 64-bit words from the object. */
enum { GC_NEXT = -2, GC_PREV = -1, PREV_FINALIZED = 1, LINK_MARKS = 3 };

/* Who is to show an instance's C members. */
enum how { NOBODY, NO_GC, INHERITS, SHOWS };
struct native {
    enum how how;
    const char *address;
    struct isan__type_object type;
    size_t start;                           /* of its members: the end of the runtime's base */
};

struct seen {
    const void *type;                       /* of the instances */
    const void *traverse;
    size_t start, end, itemsize;
    uint32_t looked;
    bool heap, managed, misses_type, misses_dict, tracked, untracked;
    uint32_t n, missed[MISSED];             /* offsets */
    uint64_t shown[WORDS / 64];             /* bits: the words at which something was shown */
};

struct look {
    isan__slot_t slot;
    size_t n;
    struct seen seen[TYPES];
    struct { const void *type; struct seen *seen; } cached[CACHED];
    size_t shown;
    const void *object[SHOWN];
};
static struct isan__table looks = ISAN__TABLE;      /* slot -> struct look; one that is lost gives no reasons */

/* The type below `type`, or itself, that is an extension's.  A heap type of the
 * runtime's is a class made in Python, or like one. */
static void
native_of(struct native *native, const void *type)
{
    struct isan__type_object t, of_static = { 0 };
    const char *below = NULL;
    native->how = NOBODY;
    native->start = 16;                     /* PyObject */
    /* What is static, and the runtime's, comes last. */
    const void *p = type;
    for (int i = 0; i < BASES && isan__read_type(&t, p); i++, p = t.base) {
        if (!(t.flags & ISAN__TYPE_HEAP) && of_static.name == NULL) {
            of_static = t;
            below = p;
        }
        if (isan__runtime_has((uint64_t)p)) {
            native->start = (size_t)t.basicsize;
            break;
        }
    }
    p = type;
    for (int i = 0; i < BASES && isan__read_type(&t, p) && !isan__runtime_has((uint64_t)p);
         i++, p = t.base) {
        if (!(t.flags & ISAN__TYPE_HAVE_GC)) {
            native->how = isan__runtime_runs(t.dealloc) ? NOBODY : NO_GC;
        }
        else if (t.traverse != NULL && !isan__runtime_runs(t.traverse)) {
            native->how = SHOWS;
        }
        else if (p != below && t.traverse != NULL && t.traverse == of_static.traverse) {
            /* subtype_traverse is no static type's. */
            native->how = INHERITS;
        }
        if (native->how != NOBODY) {
            native->address = p;
            native->type = t;
            return;
        }
    }
}

static unsigned long
flags_of(const void *type)
{
    unsigned long flags = 0;
    isan__peek(&flags, (const char *)type + isan__py.type_flags, sizeof flags);
    return flags;
}

/* The object of this interpreter that a word refers to, if the collector can
 * have to do with it. */
static const char *
refers_to(isan__slot_t slot, uint64_t value)
{
    if (value < 4096 || value >> 47 != 0 || value % ISAN__GRANULE != 0) {
        return NULL;
    }
    uint32_t word = isan__load_tag((void *)value);
    if ((word & 0xffff) != slot || !isan__may_start_object(word)) {
        return NULL;
    }
    char *block = isan__block_of((void *)value);
    const char *op = block == NULL || isan__load_tag(block) & ISAN__FREED ? NULL : isan__object_in(block);
    int32_t count;                          /* 0: in a free list; less: immortal */
    if (op != (const char *)value || (memcpy(&count, op, sizeof count), count <= 0)
        || !(flags_of(isan__object_type(op)) & ISAN__TYPE_HAVE_GC)) {
        return NULL;
    }
    return op;
}

/* Memory that is no object, and how many words of it to look at. */
static size_t
points_at_memory(isan__slot_t slot, uint64_t value)
{
    if (value < 4096 || value >> 47 != 0 || value % ISAN__GRANULE != 0) {
        return 0;
    }
    uint32_t word = isan__load_tag((void *)value);
    if ((word & 0xffff) != slot || !(word & ISAN__START) || word & ISAN__FREED
        || isan__object_in((char *)value) != NULL) {
        return 0;
    }
    size_t words = isan__block_size((void *)value) / 8;
    return words < WORDS ? words : WORDS;
}

/* Is there a word, at `at` or in the memory that it points at, that refers to
 * an object for which `is` holds?  That object. */
static const char *
leads_to(isan__slot_t slot, const char *op, size_t at,
         bool (*is)(const char *op, const char *object, void *arg), void *arg)
{
    uint64_t value;
    memcpy(&value, op + at, sizeof value);
    const char *object = refers_to(slot, value);
    if (object != NULL) {
        return is(op, object, arg) ? object : NULL;
    }
    for (size_t i = 0, n = points_at_memory(slot, value); i < n; i++) {
        object = refers_to(slot, ((const uint64_t *)value)[i]);
        if (object != NULL && is(op, object, arg)) {
            return object;
        }
    }
    return NULL;
}

/* The end of what is to be looked at in an instance. */
static size_t
end_of(const char *op, size_t end)
{
    char *block = isan__block_of(op);
    size_t most = block == NULL ? 0 : isan__block_size(block) - (size_t)(op - block);
    end = end < most ? end : most;
    return end < WORDS * 8 ? end : WORDS * 8;
}

/* Step 1: what instances show. */

static int
show(void *object, void *arg)               /* visitproc */
{
    struct look *look = arg;
    if (look->shown == SHOWN) {
        return 1;
    }
    look->object[look->shown++] = object;
    return 0;
}

static bool
is_shown(const char *op, const char *object, void *arg)
{
    const struct look *look = arg;
    (void)op;
    for (size_t i = 0; i < look->shown; i++) {
        if (look->object[i] == object) {
            return true;
        }
    }
    return false;
}

static bool
not_shown(const char *op, const char *object, void *arg)
{
    return object != isan__object_type(op)      /* looked at apart */
        && !is_shown(op, object, arg);
}

/* Does PyObject_VisitManagedDict show something, and it was not shown?  In 3.12
 * the pointer to the values is marked, and a dictionary's is not. */
static bool
misses_dict(struct look *look, const char *op, unsigned long flags, size_t basicsize)
{
    uint64_t dict, value;
    if (flags & ISAN__TYPE_INLINE_VALUES) {
        /* Include/internal/pycore_dict.h, struct _dictvalues: capacity, size, embedded, valid. */
        const uint8_t *values = (const uint8_t *)op + basicsize;
        for (size_t i = 0; values[3] && i < values[0]; i++) {
            memcpy(&value, values + 8 + 8 * i, sizeof value);
            const char *object = refers_to(look->slot, value);
            if (object != NULL && not_shown(op, object, look)) {
                return true;
            }
        }
    }
    memcpy(&dict, op + ISAN__MANAGED_DICT, sizeof dict);
    const char *object = refers_to(look->slot, dict);
    return object != NULL && not_shown(op, object, look);
}

static void
ask(struct look *look, struct seen *seen, char *op)
{
    const struct isan__type_object *type = isan__object_type(op);
    look->shown = 0;
    int (*traverse)(void *, int (*)(void *, void *), void *);
    memcpy(&traverse, &type->traverse, sizeof traverse);
    if (traverse == NULL || traverse(op, show, look) != 0) {
        return;
    }
    seen->looked++;
    seen->misses_type |= seen->heap && !is_shown(op, (const char *)type, look);
    seen->misses_dict |= seen->managed
        && misses_dict(look, op, type->flags, (size_t)type->basicsize);
    size_t end = seen->end;
    if (seen->itemsize != 0) {
        int64_t n = ((int64_t *)op)[2];     /* ob_size */
        end += n > 0 ? seen->itemsize * (size_t)n : 0;
    }
    end = end_of(op, end);
    for (size_t at = seen->start; at + 8 <= end; at += 8) {
        if (leads_to(look->slot, op, at, is_shown, look) != NULL) {
            seen->shown[at / 8 / 64] |= 1ull << at / 8 % 64;
            continue;
        }
        /* It refers to weak references, which refer to it, and owns none. */
        if ((int64_t)at == type->weaklistoffset || seen->n == MISSED
            || leads_to(look->slot, op, at, not_shown, look) == NULL) {
            continue;
        }
        uint32_t i = 0;
        while (i < seen->n && seen->missed[i] != at) {
            i++;
        }
        if (i == seen->n) {
            seen->missed[seen->n++] = (uint32_t)at;
        }
    }
}

/* What is known of a type; NULL: it is none to ask. */
static struct seen *
seen_of(struct look *look, const void *type)
{
    struct native native;
    for (size_t i = 0; i < look->n; i++) {
        if (look->seen[i].type == type) {
            return &look->seen[i];
        }
    }
    native_of(&native, type);
    if (native.how != SHOWS || look->n == TYPES) {
        return NULL;
    }
    struct seen *seen = &look->seen[look->n++];
    *seen = (struct seen){
        .type = type, .traverse = native.type.traverse,
        .start = native.start, .end = (size_t)native.type.basicsize,
        .itemsize = native.address == type ? (size_t)native.type.itemsize : 0,
        /* Below a static one subtype_traverse shows the type. */
        .heap = (native.type.flags & ISAN__TYPE_HEAP) != 0,
        .managed = isan__py.visits_managed_dict && native.type.flags & ISAN__TYPE_MANAGED_DICT,
    };
    return seen;
}

/* Is the object in the collector's list?  Where none is marked (a stock Python
 * before 3.13), something else may look like one. */
static bool
in_list(const char *op)
{
    const char *next = (const char *)(((const uint64_t *)op)[GC_NEXT] & ~(uint64_t)LINK_MARKS);
    uint64_t prev;
    return isan__peek(&prev, next + 8, sizeof prev)
        && (prev & ~(uint64_t)LINK_MARKS) == (uint64_t)(op - ISAN__GRANULE);
}

/* Most of what is none does not.  Of an object the count is less than 2^32, but
 * for flags in its uppermost 16 bits (3.14, Include/refcount.h). */
static bool
seems_object(const char *op)
{
    const uint64_t *head = (const uint64_t *)op;
    return (uint32_t)head[0] != 0 && (head[0] >> 32 & 0xffff) == 0 && head[1] >= 4096
        && head[1] >> 47 == 0 && head[1] % 8 == 0;
}

static void
look_at(char *block, void *arg)
{
    struct look *look = arg;
    if (isan__load_tag(block) & (ISAN__FREED | ISAN__RAW)) {
        return;
    }
    char *marked = isan__marked_object_in(block);
    size_t size = isan__block_size(block);
    for (size_t at = 0; at <= 2 * ISAN__GRANULE && at + 16 <= size; at += ISAN__GRANULE) {
        char *op = block + at;
        const void *type = isan__object_type(op);
        if (marked != NULL ? marked != op : !isan__stock || !seems_object(op)) {
            continue;
        }
        if (isan__runtime_has((uint64_t)type)) {
            return;
        }
        if (at == 0) {
            continue;                       /* no PyGC_Head */
        }
        size_t i = ((uintptr_t)type >> 4) % CACHED;
        bool known = type != NULL && look->cached[i].type == type;
        struct seen *seen = known ? look->cached[i].seen : NULL;
        if (known && (seen == NULL || seen->looked == LOOKED)) {
            return;
        }
        if (isan__object_in(block) != op) {
            continue;
        }
        if (!known) {
            look->cached[i].type = type;
            look->cached[i].seen = seen = seen_of(look, type);
        }
        if (seen != NULL && seen->looked < LOOKED && *(int32_t *)op != 0) {
            if (((uint64_t *)op)[GC_NEXT] == 0) {
                seen->untracked = true;
            }
            else if (in_list(op)) {
                seen->tracked = true;
                ask(look, seen, op);
            }
        }
        return;
    }
}

void
isan__survey_traverse(isan__slot_t slot)
{
    struct look *look = isan__options.leaks ? isan__map(sizeof *look) : NULL;
    if (look == NULL) {
        return;                             /* then only types' flags give reasons */
    }
    look->slot = slot;
    isan__survey_forget(slot);
    isan__visit_blocks(slot, look_at, look);
    if (look->n == 0 || !isan__table_put(&looks, slot, (uint64_t)look)) {
        isan__unmap(look, sizeof *look);
    }
}

void
isan__survey_forget(isan__slot_t slot)
{
    isan__unmap((void *)isan__table_take(&looks, slot), sizeof(struct look));
}

/* Step 2: of an object that was left. */

struct asked {
    isan__slot_t slot;
    uint32_t (*found)(const void *, void *);
    void *arg;
    const char *op, *block;
    const struct native *native;
    struct isan__gc_reason *to;
    int n, max;
};

/* The end of an interpreter but the main one untracks in 3.11 all that is left,
 * and gives each one more reference, so that nothing ever deallocates it
 * (Modules/gcmodule.c, gc_fini_untrack).  What was not tracked looks the same
 * then: it is taken for one that was. */
uint32_t
isan__reference_count(const char *op)
{
    const char *block = isan__block_of(op);
    uint32_t count;
    memcpy(&count, op, sizeof count);
    bool more = isan__py.untracks_at_end && block != NULL && op - block >= ISAN__GRANULE && count > 1
        && (isan__load_tag(block) & 0xffff) != isan__main_slot
        && isan__interp_of((isan__slot_t)isan__load_tag(block))->ended
        && flags_of(isan__object_type(op)) & ISAN__TYPE_HAVE_GC
        && ((const uint64_t *)op)[GC_NEXT] == 0;
    return count - more;
}

/* Its count needs every reference that is found to it, the one from op, too. */
static bool
owned(const char *op, const char *object, void *arg)
{
    const struct asked *asked = arg;
    uint32_t own = 0;
    if (object == op) {
        size_t size = isan__block_size(asked->block) - (size_t)(op - asked->block);
        for (size_t at = 0; at + 8 <= size; at += 8) {
            own += *(const void *const *)(op + at) == op;
        }
    }
    return object != isan__object_type(op)
        && isan__reference_count(object) >= asked->found(object, asked->arg) + own;
}

/* What the object owns there, itself or in memory that nobody else points at,
 * as all do at the state of their module. */
static const char *
owned_at(struct asked *asked, size_t at)
{
    uint64_t value;
    memcpy(&value, asked->op + at, sizeof value);
    if (points_at_memory(asked->slot, value) != 0 && asked->found((void *)value, asked->arg) > 1) {
        return NULL;
    }
    return leads_to(asked->slot, asked->op, at, owned, asked);
}

static void
reason(struct asked *asked, enum isan__reason reason, size_t at, const char *target, const char *member)
{
    if (asked->n == asked->max) {
        return;
    }
    struct isan__gc_reason *why = &asked->to[asked->n++];
    const struct isan__type_object *type = &asked->native->type;
    memset(why, 0, sizeof *why);
    why->reason = reason;
    why->basicsize = (uint32_t)type->basicsize;
    why->offset = at;
    why->code = (uint64_t)(reason == ISAN__REASON_no_gc || type->traverse == NULL
        ? type->dealloc : type->traverse);
    if (!isan__peek_string(why->type, type->name, sizeof why->type)) {
        strcpy(why->type, "?");
    }
    if (target != NULL && !isan__type_name(target, why->target, sizeof why->target)) {
        strcpy(why->target, "?");
    }
    if (member != NULL) {
        strcpy(why->member, member);
    }
    else if (at != 0) {
        isan__member_name(why->member, sizeof why->member, isan__object_type(asked->op), (ptrdiff_t)at);
    }
}

static void
no_gc(struct asked *asked)
{
    const struct native *native = asked->native;
    size_t end = end_of(asked->op, (size_t)native->type.basicsize);
    for (size_t at = native->start; at + 8 <= end; at += 8) {
        const char *object = (int64_t)at == native->type.weaklistoffset ? NULL
            : owned_at(asked, at);
        if (object != NULL) {
            reason(asked, ISAN__REASON_no_gc, at, object, NULL);
            return;
        }
    }
    if (native->type.flags & ISAN__TYPE_HEAP) {
        reason(asked, ISAN__REASON_no_gc, 0, NULL, NULL);
    }
}

static void
not_seen(struct asked *asked, const struct seen *seen)
{
    for (uint32_t i = 0; i < seen->n; i++) {
        size_t at = seen->missed[i];
        /* What another instance showed there is not what it misses. */
        if (seen->shown[at / 8 / 64] >> at / 8 % 64 & 1 || end_of(asked->op, at + 8) < at + 8) {
            continue;
        }
        const char *object = owned_at(asked, at);
        if (object != NULL) {
            reason(asked, ISAN__REASON_no_visit_member, at, object, NULL);
        }
    }
    if (seen->misses_dict) {
        reason(asked, ISAN__REASON_no_visit_member, 0, NULL, "__dict__");
    }
    if (seen->misses_type) {
        reason(asked, ISAN__REASON_no_visit_type, 0, NULL, NULL);
    }
}

/* What was seen of its type, if anything, and it is still that type. */
static const struct seen *
seen_before(const struct asked *asked)
{
    const struct look *look = (const void *)isan__table_get(&looks, asked->slot);
    for (size_t i = 0; look != NULL && i < look->n; i++) {
        if (look->seen[i].type == isan__object_type(asked->op)
            && look->seen[i].traverse == asked->native->type.traverse) {
            return &look->seen[i];
        }
    }
    return NULL;
}

int
isan__gc_reasons(const char *op, uint32_t (*found)(const void *of, void *arg), void *arg,
                       struct isan__gc_reason *to, int max)
{
    struct native native;
    struct isan__type_object type;
    const char *block = isan__block_of(op);
    if (block == NULL || *(const int32_t *)op <= 0 || !isan__read_type(&type, isan__object_type(op))) {
        return 0;
    }
    native_of(&native, isan__object_type(op));
    struct asked asked = {
        .slot = (isan__slot_t)isan__load_tag(block), .found = found, .arg = arg,
        .op = op, .block = block, .native = &native, .to = to, .max = max,
    };
    const struct seen *seen = native.how == SHOWS ? seen_before(&asked) : NULL;
    bool gc = type.flags & ISAN__TYPE_HAVE_GC && op - block >= ISAN__GRANULE;
    if (native.how == NO_GC) {
        no_gc(&asked);
    }
    else if (native.how == INHERITS) {
        reason(&asked, ISAN__REASON_no_visit_type, 0, NULL, NULL);
    }
    else if (native.how == SHOWS) {
        if (seen != NULL) {
            not_seen(&asked, seen);
        }
        if (native.type.clear == NULL) {
            reason(&asked, ISAN__REASON_no_clear, 0, NULL, NULL);
        }
    }
    /* In 3.11 all are by now: there it counts that no instance was before. */
    if (native.how != NOBODY && gc && ((const uint64_t *)op)[GC_NEXT] == 0
        && (!isan__py.untracks_at_end || (seen != NULL && seen->untracked && !seen->tracked))) {
        reason(&asked, ISAN__REASON_untracked, 0, NULL, NULL);
    }
    if (asked.n == 0 && gc && ((const uint64_t *)op)[GC_PREV] & PREV_FINALIZED && type.finalize != NULL
        && !isan__runtime_has((uint64_t)isan__object_type(op))) {
        native.type = type;
        reason(&asked, ISAN__REASON_resurrected, 0, NULL, NULL);
    }
    return asked.n;
}

void
isan__survey_interp_ended(struct isan__interp_end *end)
{
    isan__survey_forget(end->slot);
}
