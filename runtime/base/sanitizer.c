/* What isan tells ThreadSanitizer: see sanitizer.h. */
#define _GNU_SOURCE
#include "runtime/base/sanitizer.h"

#include <dlfcn.h>

bool isan__tsan;
static void (*tsan_release)(void *address), (*tsan_acquire)(void *address);
static void (*tsan_func_entry)(void *caller), (*tsan_func_exit)(void);

void
isan__tsan_init(void)
{
    *(void **)&tsan_release = dlsym(RTLD_DEFAULT, "__tsan_release");
    *(void **)&tsan_acquire = dlsym(RTLD_DEFAULT, "__tsan_acquire");
    *(void **)&tsan_func_entry = dlsym(RTLD_DEFAULT, "__tsan_func_entry");
    *(void **)&tsan_func_exit = dlsym(RTLD_DEFAULT, "__tsan_func_exit");
    isan__tsan = tsan_release != NULL && tsan_acquire != NULL
        && tsan_func_entry != NULL && tsan_func_exit != NULL
        && dlsym(RTLD_DEFAULT, "__tsan_get_report_data") != NULL;
}

void
isan__tsan_release(void *block)
{
    if (isan__tsan) {
        tsan_release(block);
    }
}

void
isan__tsan_acquire(void *block)
{
    if (isan__tsan) {
        tsan_acquire(block);
    }
}

void
isan__tsan_enter(void *caller)
{
    if (isan__tsan) {
        tsan_func_entry(caller);
    }
}

void
isan__tsan_leave(void)
{
    if (isan__tsan) {
        tsan_func_exit();
    }
}
