/* Finds pointers to blocks in the writable data of loaded modules: see static_scan.h.
 *
 * A module may be unloaded while isan walks it, so all of it is read through copies.  What a walk
 * finds is reported after it.
 *
 * isan, the C library and the dynamic linker are left out, since they hold addresses for reasons of
 * their own.  So are the runtime's thread-local variables and, except for
 * isan__mark_runtime_reachable(), _PyRuntime: they are the state of the runtime, and no variables
 * of an extension.
 */
#include "runtime/detect/static_scan.h"

#include "runtime/base/scan.h"
#include "runtime/core/thread_registry.h"
#include "runtime/detect/import_map.h"
#include "runtime/detect/static_finding.h"
#include "runtime/detect/static_types.h"
#include "runtime/elf/modules.h"
#include "runtime/elf/tls.h"

struct walk {
    void (*word)(const struct isan_holder *where, uint64_t value, void *arg);
    void *arg;
    bool runtime_only;                      /* only the runtime's own modules, _PyRuntime included */
    bool imported_only;                     /* only modules that a living interpreter has imported */
    bool users_only;                        /* only modules that use Python, without the runtime's own */
    const struct isan__import *import;      /* only modules of this import; NULL: of all */
    /* Where the walk is: */
    const struct isan__module *module;
    struct isan__range segment;
    uintptr_t thread;                       /* its variables in this thread; 0: those of all threads */
    uint32_t tid;
    uint64_t from;                          /* address of the first word of the scan */
};

/* The runtime's own module, and the standard library's extensions. */
static bool
is_of_runtime(const struct isan__module *m)
{
    return m->has_runtime || m->of_stdlib;
}

static bool
visit_static(size_t at, uint64_t word, void *arg)
{
    const struct walk *walk = arg;
    if (isan__may_point_at_block(word)) {
        walk->word(&(struct isan_holder){ .address = walk->from + at }, word, walk->arg);
    }
    return true;
}

static bool
visit_thread_local(size_t at, uint64_t word, void *arg)
{
    const struct walk *walk = arg;
    if (isan__may_point_at_block(word)) {
        walk->word(&(struct isan_holder){ .address = walk->module->start, .tls = at + 1, .tid = walk->tid },
                   word, walk->arg);
    }
    return true;
}

static void
walk_thread(uint32_t tid, uintptr_t pointer, void *arg)
{
    struct walk *walk = arg;
    const char *block = isan__tls_block(pointer, walk->module->tls_id);
    if (block != NULL) {
        walk->thread = pointer;
        walk->tid = tid;
        isan__scan_unstable(block, walk->module->tls_size, visit_thread_local, walk);
        walk->thread = 0;
    }
}

static void
walk_words(struct walk *walk, uintptr_t start, uintptr_t end)
{
    walk->from = (start + 7) & ~(uintptr_t)7;
    if (walk->from < end) {
        isan__scan_unstable((const void *)walk->from, end - walk->from, visit_static, walk);
    }
}

static bool
is_walked(const struct walk *walk, const struct isan__module *m)
{
    if (walk->runtime_only ? !is_of_runtime(m) : m->is_excluded) {
        return false;
    }
    if (walk->users_only && (m->has_runtime || !(m->imports & ISAN__IMPORTS_PYTHON))) {
        return false;
    }
    return !walk->imported_only || ((walk->import == NULL || isan__import_has(walk->import, m->base))
                                    && isan__importer_of(m->base, 0, 0) != 0);
}

static bool
walk_module(const struct isan__module *m, void *arg)
{
    struct walk *walk = arg;
    if (!is_walked(walk, m)) {
        return true;
    }
    walk->module = m;
    for (size_t i = 0; i < m->n_data; i++) {
        uintptr_t runtime = (uintptr_t)isan__py.runtime, end = m->data[i].end;
        walk->segment = m->data[i];
        if (!walk->runtime_only && runtime - m->data[i].start < end - m->data[i].start) {
            walk_words(walk, m->data[i].start, runtime);
            walk_words(walk, runtime + isan__py.runtime_size, end);
        }
        else {
            walk_words(walk, m->data[i].start, end);
        }
    }
    if (m->tls_id != 0 && !m->has_runtime) {
        isan__visit_threads(walk_thread, walk);
    }
    return true;
}

static void
walk_modules(struct walk *walk)
{
    isan__threads_forget_ended();
    isan__visit_modules(walk_module, walk);
}

void
isan__visit_statics(void (*word)(const struct isan_holder *where, uint64_t value, void *arg), void *arg)
{
    struct walk walk = { .word = word, .arg = arg, .users_only = true };
    walk_modules(&walk);
}

/* A static may hold the address by chance (a buffer of bytes, a consumed entry).  So the first static
 * of the highest rank is taken. */
enum { NOT_FOUND, POINTS_AT_IT, OTHERS_IMPORTED, REPORTED };
struct holder_search {
    struct walk walk;
    uint64_t block, object;
    struct isan_holder found;
    int rank;
};

static int
rank_holder(const struct holder_search *s, const struct isan_holder *where)
{
    const char *block = (const char *)s->block;
    uint32_t owner = isan__interp_of((isan__slot_t)isan__load_tag(block))->serial;
    return isan__static_is_reported(where, block) ? REPORTED
        : isan__importer_of(s->walk.module->base, 0, owner) != 0 ? OTHERS_IMPORTED : POINTS_AT_IT;
}

static void
match_holder(const struct isan_holder *where, uint64_t value, void *arg)
{
    struct holder_search *s = arg;
    if (value == s->block || value == s->object) {
        int rank = rank_holder(s, where);
        if (rank > s->rank) {
            s->found = *where;
            s->rank = rank;
        }
    }
}

struct isan_holder
isan__find_static_holder(const void *block, const void *object)
{
    struct holder_search s = { { .word = match_holder }, (uint64_t)block, (uint64_t)object, { 0 }, NOT_FOUND };
    s.walk.arg = &s;
    walk_modules(&s.walk);
    return s.found;
}

/* A visit of the statics that hold a block of `slot`. */
struct slot_visit {
    isan__slot_t slot;
    void (*visit)(const struct isan_holder *, char *, void *);
    void *arg;
};

static void
visit_if_of_slot(const struct slot_visit *h, const struct isan_holder *where, uint64_t value)
{
    uint32_t word = isan__load_tag((void *)value);
    if ((word & 0xffff) == h->slot && isan__may_start_object(word)) {
        char *block = isan__block_of((void *)value);
        if (block != NULL) {
            h->visit(where, block, h->arg);
        }
    }
}

static const void *
type_at(uint64_t op)
{
    const void *type = NULL;
    return isan__load_tag((void *)op) != 0 && isan__peek(&type, (const char *)op + ISAN__OB_TYPE, sizeof type)
        ? type : NULL;
}

/* Before 3.12 all interpreters share the dictionaries that CPython's statics hold, and each adds
 * keys of its own: for the subclasses of a static type (Objects/typeobject.c, add_subclass) and for
 * single-phase extensions (Python/import.c, _PyImport_FixupExtensionObject).  The values are weak
 * references to classes, and definitions.  Only the keys are visited: hashes of addresses would
 * look like pointers. */
static void
visit_keys(const struct slot_visit *h, const struct isan_holder *where, const char *dict)
{
    struct isan__keys keys;
    const char *table;
    uint64_t op;
    if (!isan__runtime_has(where->address) || !isan__peek(&table, dict + ISAN__MA_KEYS, sizeof table)
        || isan__block_of(table) == NULL || !isan__keys_at(&keys, table, false)) {
        return;
    }
    const char *key = keys.entries + keys.key;
    for (uint64_t i = 0; i < keys.n && isan__peek(&op, key, sizeof op); i++, key += keys.entry_size) {
        if (type_at(op) != isan__py.unicode_type) {     /* leak.c has a rule for interned strings */
            visit_if_of_slot(h, where, op);
        }
    }
}

static void
visit_word_of_static(const struct isan_holder *where, uint64_t value, void *arg)
{
    const struct slot_visit *h = arg;
    visit_if_of_slot(h, where, value);
    if (isan__py.shares_runtime_statics && type_at(value) == isan__py.dict_type) {
        visit_keys(h, where, (const char *)value);
    }
}

void
isan__visit_statics_of(isan__slot_t slot,
                 void (*visit)(const struct isan_holder *where, char *block, void *arg), void *arg)
{
    struct slot_visit h = { slot, visit, arg };
    struct walk walk = { .word = visit_word_of_static, .arg = &h };
    walk_modules(&walk);
}

/* What a walk has found: an object in a static, or a static type. */
struct find {
    struct isan_holder where;
    void *object;
    char *block;
    const char *type;                       /* NULL: an object */
    uint32_t owner, other;
    bool own, again;
};

struct finds {
    struct walk walk;
    struct isan__type_search types;
    struct find *all;
    size_t n, room;
};

/* Without memory the find is left to the next walk. */
static void
add_find(struct finds *finds, const struct find *find)
{
    if (finds->n < finds->room || isan__grow(&finds->all, &finds->room, 64, sizeof *find)) {
        finds->all[finds->n++] = *find;
    }
}

static bool
note_type(const struct isan_holder *where, uint64_t value, struct finds *finds)
{
    const struct walk *walk = &finds->walk;
    struct isan__static_type type;
    struct isan__type_users users;
    if (where->tls != 0) {
        return false;
    }
    if (finds->types.segment.start != walk->segment.start) {
        finds->types.base = walk->module->base;
        finds->types.segment = walk->segment;
        finds->types.n = 0;
    }
    if (!isan__find_static_type(&finds->types, where->address, value, &type)) {
        return false;
    }
    if (isan__find_type_users(&type, walk->module->base, &users)) {
        add_find(finds, &(struct find){
            .type = type.type, .owner = users.owner, .other = users.other, .own = is_of_runtime(walk->module),
            .again = users.again,
        });
    }
    return true;
}

/* An object that is deallocated, and kept in a free list of CPython's or of its type, has its mark
 * still, but no count.  A quarantined object may have none either. */
static bool
may_be_used(const char *block, const char *op)
{
    return isan__load_tag(block) & ISAN__FREED
        || isan__is_object(op, isan__block_size(block) - (size_t)(op - block), false, false);
}

static void
note_shared(const struct isan_holder *where, uint64_t value, void *arg)
{
    struct finds *finds = arg;
    const struct walk *walk = &finds->walk;
    if (note_type(where, value, finds)) {
        return;
    }
    uint32_t word = isan__load_tag((void *)value);
    isan__slot_t owner = (isan__slot_t)word;
    if (owner == 0 || owner == ISAN__NO_INTERP || !isan__may_start_object(word)) {
        return;
    }
    char *block = isan__block_of((void *)value);
    if (block == NULL || isan__object_in(block) != (void *)value || !may_be_used(block, (void *)value)) {
        return;
    }
    uint32_t other = isan__importer_of(walk->module->base, walk->thread, isan__interp_of(owner)->serial);
    if (other != 0) {
        add_find(finds, &(struct find){ .where = *where, .object = (void *)value, .block = block, .other = other });
    }
}

static void
report_finds(struct finds *finds)
{
    for (size_t i = 0; i < finds->n; i++) {
        const struct find *f = &finds->all[i];
        if (f->type != NULL) {
            isan__report_static_type(f->type, f->owner, f->other, f->own, f->again);
        }
        else {
            isan__report_static(&f->where, f->object, f->block, f->other);
        }
    }
    isan__unmap(finds->all, finds->room * sizeof *finds->all);
}

void
isan__scan_imported_statics(const struct isan__import *import)
{
    struct finds finds = { .walk = { .word = note_shared, .imported_only = true, .import = import } };
    finds.walk.arg = &finds;
    walk_modules(&finds.walk);
    report_finds(&finds);
}

void
isan__scan_statics(void)
{
    isan__scan_imported_statics(NULL);
}

/* A search for the raw blocks that the runtime can reach, breadth first.  Any thread may free them
 * meanwhile, so they are read through copies. */
struct reach {
    struct isan__table *seen;
    uint64_t *queue;
    size_t n;
};
enum { MAX_REACH = 1 << 20, MAX_BLOCK = 1 << 20 };

static void
add_reachable(const struct isan_holder *where, uint64_t value, void *arg)
{
    struct reach *r = arg;
    (void)where;
    uint32_t word = isan__load_tag((void *)value);
    if ((word & (ISAN__START | ISAN__RAW)) == (ISAN__START | ISAN__RAW) && r->n < MAX_REACH
        && isan__table_get(r->seen, value) == 0 && isan__table_put(r->seen, value, 1)) {
        r->queue[r->n++] = value;
    }
}

static bool
add_from_block(size_t at, uint64_t word, void *arg)
{
    (void)at;
    if (isan__may_point_at_block(word)) {
        add_reachable(NULL, word, arg);
    }
    return true;
}

void
isan__mark_runtime_reachable(struct isan__table *seen)
{
    struct reach r = { .seen = seen, .queue = isan__map(MAX_REACH * sizeof *r.queue) };
    struct walk walk = { .word = add_reachable, .arg = &r, .runtime_only = true };
    if (r.queue == NULL) {
        return;
    }
    walk_modules(&walk);
    /* Interpreters are linked, but not by their blocks' starts (3.14, Python/pystate.c,
     * alloc_interpreter). */
    for (isan__slot_t slot = 0; (slot = isan__next_live_slot(slot)) != 0;) {
        const void *interp = isan__interp_of(slot)->interp;
        add_reachable(NULL, interp ? (uint64_t)isan__block_of(interp) : 0, &r);
    }
    for (size_t i = 0; i < r.n; i++) {
        const char *block = (const char *)r.queue[i];
        size_t size = isan__block_size(block);
        if (size <= MAX_BLOCK) {            /* a larger one is data, not structure */
            isan__scan_unstable(block, size, add_from_block, &r);
        }
    }
    isan__unmap(r.queue, MAX_REACH * sizeof *r.queue);
}
