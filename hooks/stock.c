/* A stock Python: where isan begins.
 *
 * The allocators are installed when the main interpreter gets its GIL.  By then
 * PYTHONMALLOC and -X dev have been obeyed (Python/preconfig.c, _PyPreConfig_Write), and
 * no object exists (Python/pylifecycle.c, pycore_create_interpreter).  The runtime's call
 * of pthread_cond_init shows it (Python/ceval_gil.c, create_gil).  There is no audit event
 * for it, since hooks need a thread state.
 *
 * A stock Python does not say when a thread changes its interpreter.  isan looks it up
 * whenever the thread allocates or calls the C API (core/attach.h).
 */
#define _GNU_SOURCE
#include "hooks/stock.h"

#include <link.h>
#include <pthread.h>

#include "hooks/alloc.h"
#include "runtime/core/lifetime.h"
#include "runtime/cpython/layout.h"
#include "runtime/elf/imports.h"

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

static int
rewrite_runtime(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    if (!isan__module_has_runtime(info)) {
        return 0;
    }
    isan__imports_rewrite(info, substitute, arg);
    return 1;
}

void
isan__stock_begin(void)
{
    dl_iterate_phdr(rewrite_runtime, NULL);
    if (isan__initialized()) {
        isan__say("Python was running before isan was loaded: what there is already is not "
                  "checked; preload libisan.so when the process starts (LD_PRELOAD, isan run)");
        isan__alloc_install();
    }
}
