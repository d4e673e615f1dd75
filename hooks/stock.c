/* A stock Python: what its hook points and a look at its thread state tell.
 *
 * The allocators are installed when the main interpreter gets its GIL: by then
 * PYTHONMALLOC and -X dev have been obeyed (Python/preconfig.c,
 * _PyPreConfig_Write), and no object is there yet (Python/pylifecycle.c,
 * pycore_create_interpreter).  What shows that is its call of
 * pthread_cond_init (Python/ceval_gil.c, create_gil); no audit event does,
 * since there is no thread state that hooks could be called with.
 *
 * Which interpreter a thread runs in is looked up whenever it allocates, calls
 * the C API through boundary.c, or does something that needs a closer look.
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
    else if (!isan__initialized()) {           /* Python is initialised again */
        isan__main_end(isan__main_slot);
        isan__alloc_install();
    }
    return pthread_cond_init(cond, attributes);
}

static void *
substitute(const char *name, bool call, void *arg)
{
    (void)call;
    (void)arg;
    return strcmp(name, "pthread_cond_init") == 0 ? (void *)gil_created : NULL;
}

static bool
rewrite_runtime(const struct isan__module *module, void *arg)
{
    if (module->has_runtime) {
        isan__imports_rewrite(module, substitute, arg);
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
