/* Who holds it: pointers in the writable data of loaded modules.
 *
 * The walk runs inside dl_iterate_phdr, so that no module can be unmapped
 * under it.  What it finds is told when that has let go of its lock: to find out
 * where one is, libunwind takes a lock of its own, within which other threads
 * call dl_iterate_phdr.  Left out are isan itself, the C library and the dynamic linker,
 * which hold addresses for reasons of their own, and - as the culprit of
 * anything - _PyRuntime and the runtime's thread-local variables, which are the
 * runtime's state and no variables anybody can move.
 */
#define _GNU_SOURCE
#include "runtime/detect/static_scan.h"

#include <link.h>

#include "runtime/core/attach.h"
#include "runtime/core/block.h"
#include "runtime/core/thread_registry.h"
#include "runtime/detect/immortal.h"
#include "runtime/detect/static_finding.h"
#include "runtime/elf/imports.h"
#include "runtime/elf/tls.h"

struct walk {
    void (*word)(const struct isan_holder *where, uint64_t value, void *arg);
    void *arg;
    bool runtime_only;                      /* the runtime's own modules, _PyRuntime included */
    bool imported_only;                     /* by an interpreter that has not ended */
    bool users_only;                        /* of Python, but for the runtime's own modules */
    bool own;                               /* of the standard library, this one */
    uintptr_t base;                         /* this one; 0: any */
    uintptr_t at, end;                      /* the one being walked */
    uintptr_t thread;                       /* pointer of that whose variables are; 0: all threads' */
};

/* A module's load address with the serial of an interpreter that has imported
 * it and not ended -> 1; with 0 -> the serial of the last that has, ended or
 * not, but for the main one.  A thread's pointer with that of one that has run on
 * it, likewise. */
static struct isan__table imports = ISAN__TABLE;
uint32_t isan__n_imports;

static uint64_t
import_key(uintptr_t base, uint32_t serial)
{
    struct { uint64_t base, serial; } key = { base, serial };
    return isan__table_key(ISAN__KEY_IMPORT, &key, sizeof key);
}

static bool
has_imported(isan__slot_t slot, uintptr_t base, uint32_t but)
{
    uint32_t serial = isan__interp_of(slot)->serial;
    return serial != 0 && serial != but && isan__table_get(&imports, import_key(base, serial)) != 0;
}

uint32_t
isan__importers_of(uintptr_t base, bool *by_main)
{
    *by_main = isan__main_slot != 0 && has_imported(isan__main_slot, base, 0);
    return (uint32_t)isan__table_get(&imports, import_key(base, 0));
}

/* Can this interpreter reach what is being walked?  A thread's variables only
 * if it has run there. */
static bool
reaches(isan__slot_t slot, const struct walk *walk, uint32_t but)
{
    return has_imported(slot, walk->at, but)
        && (walk->thread == 0 || has_imported(slot, walk->thread, but));
}

/* The serial of one that can, the current one if it is one, but not `but`.
 * 0: there is none. */
static uint32_t
importer(const struct walk *walk, uint32_t but)
{
    isan__slot_t slot = isan__slot;
    if (!reaches(slot, walk, but)) {
        for (slot = isan__next_live_slot(0); slot != 0 && !reaches(slot, walk, but);) {
            slot = isan__next_live_slot(slot);
        }
    }
    return isan__interp_of(slot)->serial;
}

bool
isan__is_imported_in_parallel(uintptr_t base)
{
    isan__slot_t first = 0;
    for (isan__slot_t slot = 0; (slot = isan__next_live_slot(slot)) != 0;) {
        if (has_imported(slot, base, 0)) {
            if (first != 0 && !isan__share_gil(first, slot)) {
                return true;
            }
            first = slot;
        }
    }
    return false;
}

void
isan__imports_ran_on_thread(uint32_t serial)
{
    uintptr_t pointer = isan__thread_pointer();
    if (pointer != 0) {
        isan__table_put_or_drop(&imports, import_key(pointer, serial), 1);
    }
}

void
isan__imports_new_thread(uintptr_t pointer)
{
    for (isan__slot_t slot = 0; (slot = isan__next_live_slot(slot)) != 0;) {
        isan__table_take(&imports, import_key(pointer, isan__interp_of(slot)->serial));
    }
}

/* That, and the standard library's extensions. */
static bool
of_runtime(const struct dl_phdr_info *info)
{
    return isan__module_has_runtime(info)
        || (info->dlpi_name != NULL && strstr(info->dlpi_name, "/lib-dynload/") != NULL);
}

static void
see(struct walk *walk, const struct isan_holder *where, uint64_t value)
{
    if (isan__may_point_at_block(value)) {
        walk->word(where, value, walk->arg);
    }
}

/* A module's thread-local variables. */
struct tls {
    struct walk *walk;
    size_t module, size;
    uint64_t start;                         /* of the module, as its record has it */
};

static void
walk_thread(uint32_t tid, uintptr_t pointer, void *arg)
{
    const struct tls *tls = arg;
    const char *block = isan__tls_block(pointer, tls->module);
    uint64_t words[512];
    if (block == NULL) {
        return;
    }
    tls->walk->thread = pointer;
    for (size_t at = 0; at + 8 <= tls->size; at += sizeof words) {
        size_t size = tls->size - at < sizeof words ? tls->size - at : sizeof words;
        if (!isan__peek(words, block + at, size)) {
            break;
        }
        for (size_t i = 0; i < size / 8; i++) {
            see(tls->walk, &(struct isan_holder){ .address = tls->start, .tls = at + 8 * i + 1,
                                                  .tid = tid }, words[i]);
        }
    }
    tls->walk->thread = 0;
}

static int
walk_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct walk *walk = arg;
    struct tls tls = { .walk = walk, .start = UINT64_MAX };
    walk->at = info->dlpi_addr;
    if (walk->runtime_only ? !of_runtime(info) : isan__module_is_excluded(info)) {
        return 0;
    }
    if (walk->users_only && (isan__module_has_runtime(info) || !isan__module_uses_python(info))) {
        return 0;
    }
    if (walk->imported_only && ((walk->base != 0 && walk->base != info->dlpi_addr)
                                || importer(walk, 0) == 0)) {
        return 0;
    }
    walk->own = of_runtime(info);
    uintptr_t runtime = (uintptr_t)isan__py.runtime;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        uint64_t start = info->dlpi_addr + ph->p_vaddr;
        if (ph->p_type == PT_TLS && size > offsetof(struct dl_phdr_info, dlpi_tls_modid)) {
            tls.module = info->dlpi_tls_modid;
            tls.size = ph->p_memsz;
        }
        if (ph->p_type == PT_LOAD && start < tls.start) {
            tls.start = start;
        }
        if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_W)) {
            continue;
        }
        uintptr_t p = (start + 7) & ~(uintptr_t)7, end = start + ph->p_memsz;
        walk->end = end;
        for (; p + 8 <= end; p += 8) {
            if (!walk->runtime_only && p - runtime < isan__py.runtime_size) {
                p = ((runtime + isan__py.runtime_size + 7) & ~(uintptr_t)7) - 8;
                continue;
            }
            see(walk, &(struct isan_holder){ .address = p }, *(const volatile uint64_t *)p);
        }
    }
    if (tls.module != 0 && !isan__module_has_runtime(info)) {
        isan__visit_threads(walk_thread, &tls);
    }
    return 0;
}

static void
go(struct walk *walk)
{
    isan__threads_forget_ended();
    dl_iterate_phdr(walk_module, walk);
}

void
isan__visit_statics(void (*word)(const struct isan_holder *where, uint64_t value, void *arg), void *arg)
{
    struct walk walk = { .word = word, .arg = arg, .users_only = true };
    go(&walk);
}

struct search {
    uint64_t block, object;
    struct isan_holder found;
};

static void
match(const struct isan_holder *where, uint64_t value, void *arg)
{
    struct search *s = arg;
    if (s->found.address == 0 && (value == s->block || value == s->object)) {
        s->found = *where;
    }
}

struct isan_holder
isan__find_static_holder(const void *block, const void *object)
{
    struct search s = { (uint64_t)block, (uint64_t)object, { 0 } };
    struct walk walk = { .word = match, .arg = &s };
    go(&walk);
    return s.found;
}

struct holders {
    isan__slot_t slot;
    void (*visit)(const struct isan_holder *, char *, void *);
    void *arg;
};

static void
points(const struct holders *h, const struct isan_holder *where, uint64_t value)
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

/* Before 3.12 all interpreters share the dictionaries that CPython's statics
 * hold, and each adds keys of its own: for the subclasses of a static type
 * (Objects/typeobject.c, add_subclass) and the single-phase extensions
 * (Python/import.c, _PyImport_FixupExtensionObject).  Not the values: weak
 * references to classes, and definitions.  Keys are all that is looked at, as
 * hashes of addresses look like pointers. */
static void
points_with_keys(const struct holders *h, const struct isan_holder *where, const char *dict)
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
        if (type_at(op) != isan__py.unicode_type) {     /* interned: leak.c tells them apart */
            points(h, where, op);
        }
    }
}

static void
holds(const struct isan_holder *where, uint64_t value, void *arg)
{
    const struct holders *h = arg;
    points(h, where, value);
    if (isan__py.shares_runtime_statics && type_at(value) == isan__py.dict_type) {
        points_with_keys(h, where, (const char *)value);
    }
}

void
isan__visit_statics_of(isan__slot_t slot,
                 void (*visit)(const struct isan_holder *where, char *block, void *arg), void *arg)
{
    struct holders h = { slot, visit, arg };
    struct walk walk = { .word = holds, .arg = &h };
    go(&walk);
}

enum { TYPE_NEEDS = ISAN__TP(mro) + sizeof(void *) };
#define TYPE_MAX_SIZE (1l << 24)            /* of its instances, to be believed */

/* `type`, or a subclass of it that this module or an interpreter has made. */
static bool
is_type_of_types(const struct walk *walk, uint64_t meta)
{
    const void *type;
    unsigned long flags;
    return meta == (uint64_t)isan__py.type_type
        || ((meta - walk->at < walk->end - walk->at || isan__load_tag((void *)meta) != 0)
            && isan__peek(&type, (const char *)meta + ISAN__OB_TYPE, sizeof type)
            && type == isan__py.type_type
            && isan__peek(&flags, (const char *)meta + isan__py.type_flags, sizeof flags)
            && flags & ISAN__TYPE_TYPE);
}

/* A static type that PyType_Ready has been called for, the word of whose
 * ob_type this is, or NULL. */
static const char *
static_type(const struct walk *walk, uint64_t where, uint64_t meta)
{
    const char *type = (const char *)where - ISAN__OB_TYPE;
    unsigned long flags;
    int64_t basicsize;
    uint64_t mro;
    if (where + TYPE_NEEDS - ISAN__OB_TYPE > walk->end) {
        return NULL;
    }
    memcpy(&flags, type + isan__py.type_flags, sizeof flags);
    memcpy(&basicsize, type + ISAN__TP(basicsize), sizeof basicsize);
    memcpy(&mro, type + ISAN__TP(mro), sizeof mro);
    return (flags & (ISAN__TYPE_READY | ISAN__TYPE_HEAP)) == ISAN__TYPE_READY && isan__may_point_at_block(mro)
        && basicsize >= ISAN__GRANULE && basicsize < TYPE_MAX_SIZE
        && is_type_of_types(walk, meta) ? type : NULL;
}

/* What a look has found: an object in a static, or a static type. */
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
    struct find *all;
    size_t n, room;
};

static void
note(struct finds *finds, const struct find *find)
{
    if (finds->n == finds->room) {
        size_t room = finds->room ? 2 * finds->room : 64, size = finds->room * sizeof *find;
        struct find *all = isan__map(room * sizeof *find);
        if (all == NULL) {
            return;                         /* for the next look */
        }
        if (size != 0) {
            memcpy(all, finds->all, size);
        }
        isan__unmap(finds->all, size);
        finds->all = all;
        finds->room = room;
    }
    finds->all[finds->n++] = *find;
}

/* Several interpreters use the type if one has made it ready, and its
 * dictionary, and another has imported the module; or, should nobody know which
 * made it, if two have imported it. */
static void
look_at_type(const struct walk *walk, const char *type, struct finds *finds)
{
    uint64_t dict;
    memcpy(&dict, type + ISAN__TP(dict), sizeof dict);
    char *block = isan__may_point_at_block(dict) ? isan__block_of((void *)dict) : NULL;
    const struct isan__interp *maker = isan__interp_of(block ? (isan__slot_t)isan__load_tag(block) : 0);
    uint32_t owner = maker->serial ? maker->serial : importer(walk, 0);
    uint32_t other = importer(walk, owner);
    if (other != 0) {
        note(finds, &(struct find){
            .type = type, .owner = owner, .other = other, .own = walk->own,
            .again = maker->kind == ISAN_INTERP_MAIN && other == isan__interp_of(isan__main_slot)->serial,
        });
    }
}

static void
look_at(const struct isan_holder *where, uint64_t value, void *arg)
{
    struct finds *finds = arg;
    const struct walk *walk = &finds->walk;
    const char *type = where->tls == 0 ? static_type(walk, where->address, value) : NULL;
    if (type != NULL) {
        look_at_type(walk, type, finds);
        return;
    }
    uint32_t word = isan__load_tag((void *)value);
    isan__slot_t owner = (isan__slot_t)word;
    if (owner == 0 || owner == ISAN__NO_INTERP || !isan__may_start_object(word)) {
        return;
    }
    char *block = isan__block_of((void *)value);
    if (block == NULL || isan__object_in(block) != (void *)value) {
        return;
    }
    uint32_t other = importer(walk, isan__interp_of(owner)->serial);
    if (other != 0) {
        note(finds, &(struct find){ .where = *where, .object = (void *)value, .block = block, .other = other });
    }
}

static void
look(uintptr_t base, struct finds *finds)
{
    finds->walk = (struct walk){ .word = look_at, .arg = finds, .imported_only = true, .base = base };
    go(&finds->walk);
}

static void
tell(struct finds *finds)
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
isan__scan_statics(void)
{
    struct finds finds = { 0 };
    look(0, &finds);
    tell(&finds);
}

/* Modules by their load address, or by the name under which others need them. */
struct module {
    uintptr_t base;
    const char *name;
    uint32_t serial;                        /* of whom imports it */
    struct finds *finds;
};

static int import_module(struct dl_phdr_info *info, size_t size, void *arg);

/* A library without a symbol of Python's holds no objects, as far as it knows:
 * the C++ library and the like are left out. */
static int
import_library(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct module *m = arg;
    if (!isan__module_has_soname(info, m->name)) {
        return 0;
    }
    if (isan__module_uses_python(info) && isan__table_get(&imports, import_key(info->dlpi_addr, m->serial)) == 0) {
        m->base = info->dlpi_addr;
        import_module(info, size, m);
    }
    return 1;
}

static void
import_needed(const char *name, void *arg)
{
    struct module m = *(struct module *)arg;
    m.name = name;
    dl_iterate_phdr(import_library, &m);
}

/* The runtime's own module is nobody's: dlopen(NULL) gives it. */
static int
import_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    const struct module *m = arg;
    (void)size;
    if (info->dlpi_addr != m->base) {
        return 0;
    }
    if (!isan__module_is_excluded(info) && !isan__module_has_runtime(info)) {
        isan__table_put_or_drop(&imports, import_key(m->base, m->serial), 1);
        isan__immortal_add_suspect(info);
        if (m->serial != isan__interp_of(isan__main_slot)->serial) {
            isan__table_put_or_drop(&imports, import_key(m->base, 0), m->serial);
        }
        isan__visit_dynamic_names(info, DT_NEEDED, import_needed, arg);
        look(m->base, m->finds);
    }
    return 1;
}

/* A module's load address -> the definition its PyInit function has given. */
static struct isan__table definitions = ISAN__TABLE;
/* What this thread has loaded last, and for whom: the main interpreter may call the
 * PyInit function for it (Python/import.c, import_run_extension). */
static __thread struct { uintptr_t base; uint32_t serial; isan__slot_t slot; } loading;

/* May it import what says nothing of its GIL?  By struct _import_state
 * (Include/internal/pycore_import.h), which begins with sys.modules. */
static bool
is_lenient(const struct isan__interp *i)
{
    enum { STATE = 1 << 14, OVERRIDE_CHECK = 28 };
    const void *(*get)(void) = (const void *(*)(void))isan__python_symbol("PyImport_GetModuleDict");
    const void *modules = get(), *word = NULL;
    const char *here = isan__interp_of(isan__slot)->interp;
    uint32_t at = 0;
    int32_t override;
    for (; at < STATE; at += sizeof word) {
        memcpy(&word, here + at, sizeof word);
        if (word == modules) {
            break;
        }
    }
    if (at == STATE) {
        return true;
    }
    memcpy(&override, (const char *)i->interp + at + OVERRIDE_CHECK, sizeof override);
    return override < 0;
}

/* Python/import.c, _PyImport_CheckSubinterpIncompatibleExtensionAllowed, and
 * Objects/moduleobject.c, PyModule_FromDefAndSpec2: one with a GIL and an obmalloc of
 * its own takes what says that it is for such. */
static bool
is_refused(isan__slot_t slot, const void *definition)
{
    enum { MULTIPLE_INTERPRETERS = 3, PER_INTERPRETER_GIL = 2 };
    const struct isan__interp *i = isan__interp_of(slot);
    const char *at;
    struct { int64_t slot; uint64_t value; } s;
    if (definition == NULL || i->kind != ISAN_INTERP_OWN_GIL || i->ended || i->shares_main || is_lenient(i)
        || !isan__peek(&at, (const char *)definition + ISAN__M_SLOTS, sizeof at)) {
        return false;
    }
    for (; at != NULL && isan__peek(&s, at, sizeof s) && (int)s.slot != 0; at += sizeof s) {
        if ((int)s.slot == MULTIPLE_INTERPRETERS) {
            return s.value != PER_INTERPRETER_GIL;
        }
    }
    return true;
}

void
isan__import_defined(uintptr_t base, const void *definition)
{
    isan__table_put_or_drop(&definitions, base, (uint64_t)definition);
    uint32_t serial = loading.serial;
    if (loading.base == base && serial == isan__interp_of(loading.slot)->serial && isan__slot != 0
        && is_refused(loading.slot, definition)) {
        isan__table_take(&imports, import_key(base, serial));
        if (isan__table_get(&imports, import_key(base, 0)) == serial) {
            isan__table_take(&imports, import_key(base, 0));
        }
    }
}

/* An interpreter has called dlopen, as it does for every import of an
 * extension, the first or not (Python/dynload_shlib.c). */
void
isan__import_module(uintptr_t base)
{
    isan__sync_thread_state(true);
    uint32_t serial = isan__slot ? isan__interp_of(isan__slot)->serial : 0;
    if (serial != 0) {
        loading.base = base;
        loading.serial = serial;
        loading.slot = isan__slot;
        if (is_refused(isan__slot, (const void *)isan__table_get(&definitions, base))) {
            return;
        }
        __atomic_add_fetch(&isan__n_imports, 1, __ATOMIC_RELAXED);
        struct finds finds = { 0 };
        dl_iterate_phdr(import_module, &(struct module){ .base = base, .serial = serial, .finds = &finds });
        isan__publish_module_imported(base);
        tell(&finds);
    }
}

static int
forget_import(struct dl_phdr_info *info, size_t size, void *serial)
{
    (void)size;
    isan__table_take(&imports, import_key(info->dlpi_addr, *(uint32_t *)serial));
    return 0;
}

static void
forget_thread(uint32_t tid, uintptr_t pointer, void *serial)
{
    (void)tid;
    isan__table_take(&imports, import_key(pointer, *(uint32_t *)serial));
}

void
isan__forget_imports(struct isan__interp_end *end)
{
    uint32_t serial = isan__interp_of(end->slot)->serial;
    dl_iterate_phdr(forget_import, &serial);
    isan__visit_threads(forget_thread, &serial);
}

/* Raw blocks the runtime can reach, breadth first.  They may be any thread's
 * and be freed meanwhile, so they are read with care. */
struct reach {
    struct isan__table *seen;
    uint64_t *queue;
    size_t n;
};
enum { MAX_REACH = 1 << 20, MAX_BLOCK = 1 << 20 };

static void
reached(const struct isan_holder *where, uint64_t value, void *arg)
{
    struct reach *r = arg;
    (void)where;
    uint32_t word = isan__load_tag((void *)value);
    if ((word & (ISAN__START | ISAN__RAW)) == (ISAN__START | ISAN__RAW) && r->n < MAX_REACH
        && isan__table_get(r->seen, value) == 0 && isan__table_put(r->seen, value, 1)) {
        r->queue[r->n++] = value;
    }
}

void
isan__mark_runtime_reachable(struct isan__table *seen)
{
    struct reach r = { .seen = seen, .queue = isan__map(MAX_REACH * sizeof *r.queue) };
    struct walk walk = { .word = reached, .arg = &r, .runtime_only = true };
    if (r.queue == NULL) {
        return;
    }
    go(&walk);
    /* They are linked, but the pointers may be to behind their blocks' starts
     * (3.14, Python/pystate.c, alloc_interpreter). */
    for (isan__slot_t slot = 0; (slot = isan__next_live_slot(slot)) != 0;) {
        const void *interp = isan__interp_of(slot)->interp;
        reached(NULL, interp ? (uint64_t)isan__block_of(interp) : 0, &r);
    }
    for (size_t i = 0; i < r.n; i++) {
        const char *block = (const char *)r.queue[i];
        size_t size = isan__block_size(block);
        uint64_t words[512];
        if (size > MAX_BLOCK) {
            continue;                       /* data, not structure */
        }
        for (size_t at = 0; at < size; at += sizeof words) {
            size_t n = size - at < sizeof words ? size - at : sizeof words;
            if (!isan__peek(words, block + at, n)) {
                break;
            }
            for (size_t j = 0; j < n / 8; j++) {
                if (isan__may_point_at_block(words[j])) {
                    reached(NULL, words[j], &r);
                }
            }
        }
    }
    isan__unmap(r.queue, MAX_REACH * sizeof *r.queue);
}
