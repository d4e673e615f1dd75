/* Which interpreter has imported which module: see import_map.h. */
#include "runtime/detect/import_map.h"

#include "runtime/core/attach.h"
#include "runtime/core/thread_registry.h"
#include "runtime/elf/modules.h"
#include "runtime/elf/tls.h"

/* A module's load address and the serial of a living interpreter that has imported the module -> 1.
 * A module's load address and 0 -> the serial of the last interpreter that has imported it, living
 * or not, but not of the main one.  A thread's pointer and the serial of a living interpreter that
 * has run on the thread -> 1.  A lost entry loses findings about the module's statics. */
static struct isan__table imports = ISAN__TABLE;
uint32_t isan__n_imports;

static uint64_t
import_key(uintptr_t base, uint32_t serial)
{
    struct { uint64_t base, serial; } key = { base, serial };
    return isan__table_key(ISAN__KEY_IMPORT, &key, sizeof key);
}

/* Has the interpreter imported the module at base, or run on the thread with that pointer?  False
 * if its serial is `but`. */
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

static bool
reaches(isan__slot_t slot, uintptr_t base, uintptr_t thread, uint32_t but)
{
    return has_imported(slot, base, but) && (thread == 0 || has_imported(slot, thread, but));
}

uint32_t
isan__importer_of(uintptr_t base, uintptr_t thread, uint32_t but)
{
    isan__slot_t slot = isan__slot;
    if (!reaches(slot, base, thread, but)) {
        for (slot = isan__next_live_slot(0); slot != 0 && !reaches(slot, base, thread, but);) {
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

/* A module's load address -> the definition that its PyInit function has returned.  A lost entry
 * lets an import count that Python refuses. */
static struct isan__table definitions = ISAN__TABLE;
/* The module that this thread has loaded last, and the interpreter that it loaded it for.  The
 * PyInit function may run in the main interpreter instead (Python/import.c,
 * import_run_extension). */
static __thread struct { uintptr_t base; uint32_t serial; isan__slot_t slot; } loading;

/* May the interpreter import modules without Py_mod_multiple_interpreters?  struct _import_state
 * says so (Include/internal/pycore_import.h).  It begins with sys.modules. */
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

/* An interpreter with a GIL and an obmalloc of its own refuses modules that do not declare that
 * they support it (Python/import.c, _PyImport_CheckSubinterpIncompatibleExtensionAllowed;
 * Objects/moduleobject.c, PyModule_FromDefAndSpec2). */
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

enum { MAX_IMPORTED = 256 };
struct importing {
    uintptr_t base;
    struct isan__import import;
    uintptr_t modules[MAX_IMPORTED];
};

/* The runtime's own module is left out: dlopen(NULL) returns it.  So are libraries without a symbol
 * of Python, such as the C++ library, which do not know about objects. */
static bool
import_one(const struct isan__module *m, void *arg)
{
    struct importing *i = arg;
    uint32_t serial = i->import.serial;
    if (m->is_excluded || m->has_runtime) {
        return false;
    }
    if (m->base != i->base && (!(m->imports & ISAN__IMPORTS_PYTHON)
                               || isan__table_get(&imports, import_key(m->base, serial)) != 0)) {
        return false;
    }
    if (i->import.n == MAX_IMPORTED) {
        isan__log_dropped();
        return false;
    }
    i->modules[i->import.n++] = m->base;
    isan__table_put_or_drop(&imports, import_key(m->base, serial), 1);
    if (serial != isan__interp_of(isan__main_slot)->serial) {
        isan__table_put_or_drop(&imports, import_key(m->base, 0), serial);
    }
    return true;
}

/* An interpreter has called dlopen, as it does for every import of an
 * extension, the first or not (Python/dynload_shlib.c). */
void
isan__import_module(uintptr_t base)
{
    isan__sync_thread_state(true);
    uint32_t serial = isan__slot ? isan__interp_of(isan__slot)->serial : 0;
    if (serial == 0) {
        return;
    }
    loading.base = base;
    loading.serial = serial;
    loading.slot = isan__slot;
    if (is_refused(isan__slot, (const void *)isan__table_get(&definitions, base))) {
        return;
    }
    __atomic_add_fetch(&isan__n_imports, 1, __ATOMIC_RELAXED);
    struct importing i = { .base = base, .import = { .serial = serial, .modules = i.modules } };
    isan__visit_module_closure(base, import_one, &i);
    isan__publish_module_imported(&i.import);
}

bool
isan__import_has(const struct isan__import *import, uintptr_t base)
{
    size_t i = 0;
    while (i < import->n && import->modules[i] != base) {
        i++;
    }
    return i < import->n;
}

static bool
forget_module(const struct isan__module *m, void *serial)
{
    isan__table_take(&imports, import_key(m->base, *(uint32_t *)serial));
    return true;
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
    isan__visit_modules(forget_module, &serial);
    isan__visit_threads(forget_thread, &serial);
}
