/* What isan tells ThreadSanitizer: see sanitizer.h. */
#define _GNU_SOURCE
#include "runtime/base/sanitizer.h"

#include <dlfcn.h>

bool isan__tsan;
static void (*tsan_release)(void *address), (*tsan_acquire)(void *address);

void
isan__tsan_init(void)
{
    *(void **)&tsan_release = dlsym(RTLD_DEFAULT, "__tsan_release");
    *(void **)&tsan_acquire = dlsym(RTLD_DEFAULT, "__tsan_acquire");
    isan__tsan = tsan_release != NULL && tsan_acquire != NULL
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
