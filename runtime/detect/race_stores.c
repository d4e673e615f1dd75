/* Races of stores into the statics of extensions, seen as they happen (statics=watch).
 *
 * When an extension has been loaded, and before its code runs, each store into one of
 * its own variables is replaced by a jump to a trampoline (store_sites.c,
 * store_trampoline.c), and its calls of memcpy() and its like are led to wrappers
 * (store_wrappers.c).
 *
 * While interpreters with GILs of their own have imported the extension, threads pause
 * before such a store now and then, for some milliseconds.  A thread of an interpreter
 * with another GIL that comes to a store into the same memory meanwhile collides with
 * the pause: that is a race, and both threads are there to be reported (store_pause.c).
 */
#define _GNU_SOURCE
#include "runtime/detect/race_stores.h"

#include "runtime/base/options.h"

#ifdef __x86_64__

#include "runtime/base/table.h"
#include "runtime/core/log.h"
#include "runtime/detect/store_trampoline.h"
#include "runtime/detect/store_wrappers.h"
#include "runtime/elf/imports.h"
#include "runtime/elf/modules.h"

/* Program headers of a module -> 1: it was loaded before, and its code is not changed any more.
 * Without an entry isan searches the changed code for stores once more. */
static struct isan__table known_modules = ISAN__TABLE;

static void
watch_module(const struct isan__module *module)
{
    struct isan__store_code code;
    if (isan__store_modules_full() || !isan__store_sites_find(&code, module)) {
        return;
    }
    uint64_t *gate;
    if (code.n_sites == 0) {                /* it may still call functions that store */
        gate = isan__map(sizeof *gate);
        if (gate == NULL) {
            return;
        }
    }
    else if ((gate = isan__store_trampolines_install(&code)) == NULL) {
        isan__store_sites_drop(&code);
        isan__log_note("statics=watch: the code of %s cannot be changed, so its stores into its "
                       "variables are not seen", module->path);
        return;
    }
    isan__store_module_add(&code, gate);
    isan__imports_rewrite(module, isan__store_wrapper, NULL);
}

/* Code of a module that is loaded already may be running: it is not changed. */
static bool
add_known_module(const struct isan__module *module, void *unused)
{
    (void)unused;
    isan__table_put_or_drop(&known_modules, (uint64_t)module->headers, 1);
    return true;
}

void
isan__race_stores_init(void)
{
    if (isan__options.statics != ISAN__STATICS_watch) {
        return;
    }
    isan__store_trampolines_init();
    isan__store_pause_init();
    isan__store_sites_init();
    isan__visit_modules(add_known_module, NULL);
}

void
isan__race_stores_forked(int unused)
{
    (void)unused;
    isan__store_pause_forked();
}

void
isan__race_stores_module_imported(const struct isan__import *import)
{
    (void)import;
    isan__store_gates_update();
}

void
isan__race_stores_interp_ended(struct isan__interp_end *end)
{
    (void)end;
    isan__store_gates_update();
}

/* --- modules that have been loaded ----------------------------------------------------------- */

/* The modules that dlopen() has loaded, or has found loaded. */
struct opened {
    uintptr_t base;
    bool all_known;
};

static bool
note_unknown_module(const struct isan__module *module, void *arg)
{
    struct opened *opened = arg;
    opened->all_known &= isan__table_get(&known_modules, (uint64_t)module->headers) != 0;
    return opened->all_known;
}

/* The module is noted when its code has been changed: other threads do not wait for
 * modules that are known. */
static bool
watch_new_module(const struct isan__module *module, void *unused)
{
    (void)unused;
    if (isan__table_get(&known_modules, (uint64_t)module->headers) != 0) {
        return false;
    }
    if (!module->is_excluded && !module->has_runtime && module->imports & ISAN__IMPORTS_PYTHON) {
        watch_module(module);
    }
    return add_known_module(module, NULL);
}

/* A visitor of kept modules: the first call does it all. */
static bool
watch_opened_modules(const struct isan__module *unused, void *arg)
{
    const struct opened *opened = arg;
    (void)unused;
    isan__visit_module_closure(opened->base, watch_new_module, NULL);
    return false;
}

/* The program runs no code of a module before the dlopen() that loaded it has returned,
 * and each thread that called dlopen() for it comes here first.  The first one may change
 * the code; the others wait for it, since only one thread at a time is in
 * isan__visit_kept_modules().  But constructors of the libraries that it needs may have
 * started threads: libraries that use nothing of Python's are left alone. */
void
isan__race_stores_module_loaded(uintptr_t base)
{
    struct opened opened = { base, true };
    if (isan__options.statics != ISAN__STATICS_watch) {
        return;
    }
    isan__visit_module_closure(base, note_unknown_module, &opened);
    while (!opened.all_known
           && !isan__visit_kept_modules(isan__modules_refresh(), watch_opened_modules, &opened)) {
    }
}

#else

void
isan__race_stores_init(void)
{
    if (isan__options.statics == ISAN__STATICS_watch) {
        isan__die("statics=watch is there for x86-64 only: leave it out");
    }
}

void isan__race_stores_module_loaded(uintptr_t base) { (void)base; }
void isan__race_stores_module_imported(const struct isan__import *import) { (void)import; }
void isan__race_stores_interp_ended(struct isan__interp_end *end) { (void)end; }
void isan__race_stores_forked(int unused) { (void)unused; }

#endif
