/* Where isan begins in a stock Python.
 *
 * The allocators are installed when the main interpreter gets its GIL.  By then Python has obeyed
 * PYTHONMALLOC and -X dev (Python/preconfig.c, _PyPreConfig_Write), and no object exists
 * (Python/pylifecycle.c, pycore_create_interpreter).  The runtime calls pthread_cond_init then
 * (Python/ceval_gil.c, create_gil).  There is no audit event that early, since audit hooks need a
 * thread state.
 *
 * A stock Python has no hook for a thread that changes its interpreter.  isan checks whenever the
 * thread allocates or calls the C API (core/attach.h).
 */
#define _GNU_SOURCE
#include "hooks/stock.h"

#include <pthread.h>

#include "hooks/alloc.h"
#include "runtime/core/lifetime.h"
#include "runtime/cpython/layout.h"
#include "runtime/elf/imports.h"
#include "runtime/elf/modules.h"

static int
gil_created(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    if (isan__main_slot == 0) {
        isan__alloc_install();
    }
    else if (!isan__initialized()) {        /* Python is initialised again */
        isan__main_end(isan__main_slot);
        isan__alloc_install();
    }
    return pthread_cond_init(cond, attributes);
}

static void *
find_substitute(const char *name, bool call, void *arg)
{
    (void)call;
    (void)arg;
    return strcmp(name, "pthread_cond_init") == 0 ? (void *)gil_created : NULL;
}

static bool
rewrite_runtime(const struct isan__module *module, void *arg)
{
    if (module->has_runtime) {
        isan__imports_rewrite(module, find_substitute, arg);
    }
    return !module->has_runtime;
}

void
isan__stock_begin(void)
{
    while (!isan__visit_kept_modules(isan__modules_refresh(), rewrite_runtime, NULL)) {
    }
    if (isan__initialized()) {
        isan__say("Python was running before isan was loaded: what there is already is not "
                  "checked; preload libisan.so when the process starts (LD_PRELOAD, isan run)");
        isan__alloc_install();
    }
}
