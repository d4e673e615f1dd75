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

#include <elf.h>
#include <link.h>

#include "runtime/base/table.h"
#include "runtime/core/log.h"
#include "runtime/cpython/layout.h"
#include "runtime/detect/static_scan.h"
#include "runtime/detect/store_pause.h"
#include "runtime/detect/store_sites.h"
#include "runtime/detect/store_trampoline.h"
#include "runtime/detect/store_wrappers.h"
#include "runtime/elf/imports.h"

/* Program headers of a module -> 1: it was loaded before, and is not changed any more. */
static struct isan__table known_modules = ISAN__TABLE;

static void
watch_module(const struct dl_phdr_info *info)
{
    struct isan__store_code code;
    if (isan__store_modules_full() || !isan__store_sites_find(&code, info)) {
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
                       "variables are not seen", info->dlpi_name);
        return;
    }
    isan__store_module_add(&code, gate);
    isan__imports_rewrite(info, isan__store_wrapper, NULL);
}

static int visit_known_module(struct dl_phdr_info *info, size_t size, void *unused);

void
isan__race_stores_init(void)
{
    if (isan__options.statics != ISAN__STATICS_watch) {
        return;
    }
    isan__store_trampolines_init();
    isan__store_pause_init();
    isan__store_sites_init();
    dl_iterate_phdr(visit_known_module, NULL);
}

void
isan__race_stores_forked(int unused)
{
    (void)unused;
    isan__store_pause_forked();
}

void
isan__race_stores_module_imported(uintptr_t base)
{
    (void)base;
    isan__store_gates_update();
}

void
isan__race_stores_interp_ended(struct isan__interp_end *end)
{
    (void)end;
    isan__store_gates_update();
}

/* --- modules that have been loaded ----------------------------------------------------------- */

/* Code of a module that is already there may be running: it is not changed. */
static int
visit_known_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    isan__table_put_or_drop(&known_modules, (uint64_t)info->dlpi_phdr, 1);
    return 0;
}

/* The program runs no code of a module before the dlopen() that loaded it has returned,
 * and each thread that called dlopen() for it comes here first.  The first one may change
 * the code, while the others wait for dl_iterate_phdr()'s lock.  But constructors of the
 * libraries that it needs may have started threads: libraries that use nothing of
 * Python's are left alone. */
struct loaded_module {
    uintptr_t base;
    const char *name;                       /* not NULL: look for this DT_SONAME, not for the base */
};

static int visit_loaded_module(struct dl_phdr_info *info, size_t size, void *arg);

static void
visit_needed_name(const char *name, void *unused)
{
    (void)unused;
    dl_iterate_phdr(visit_loaded_module, &(struct loaded_module){ .name = name });
}

static int
visit_loaded_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    const struct loaded_module *wanted = arg;
    uint64_t key = (uint64_t)info->dlpi_phdr;
    (void)size;
    if (wanted->name != NULL ? !isan__module_has_soname(info, wanted->name) : info->dlpi_addr != wanted->base) {
        return 0;
    }
    if (isan__table_get(&known_modules, key) == 0) {
        isan__table_put_or_drop(&known_modules, key, 1);
        isan__visit_dynamic_names(info, DT_NEEDED, visit_needed_name, NULL);
        if (!isan__module_is_excluded(info) && !isan__module_has_runtime(info) && isan__module_uses_python(info)) {
            watch_module(info);
        }
    }
    return 1;
}

void
isan__race_stores_module_loaded(uintptr_t base)
{
    if (isan__options.statics == ISAN__STATICS_watch) {
        dl_iterate_phdr(visit_loaded_module, &(struct loaded_module){ .base = base });
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
void isan__race_stores_module_imported(uintptr_t base) { (void)base; }
void isan__race_stores_interp_ended(struct isan__interp_end *end) { (void)end; }
void isan__race_stores_forked(int unused) { (void)unused; }

#endif
