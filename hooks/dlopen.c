/* dlopen: a host may bring Python in with a plug-in, and Python its extensions.
 * dlclose: what is unloaded is unknown from then on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "runtime/base/os.h"
#include "runtime/core/events.h"
#include "runtime/elf/modules.h"

typedef void *open_function(const char *, int);
typedef int close_function(void *);

/* A name without a slash is looked for along the caller's RUNPATH too, but to
 * the dynamic linker the caller is isan: look there for it, as dlopen(3) says,
 * with the path that dlinfo(3) gives.  True: `path` is the file. */
static bool
find(const char *name, const void *caller, char *path, size_t size)
{
    Dl_info info;
    struct link_map *map = NULL;
    Dl_serinfo many;
    if (dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || map == NULL
        || dlinfo(map, RTLD_DI_SERINFOSIZE, &many) != 0) {
        return false;
    }
    Dl_serinfo *info_of = malloc(many.dls_size);
    bool found = false;
    if (info_of != NULL && dlinfo(map, RTLD_DI_SERINFOSIZE, info_of) == 0
        && dlinfo(map, RTLD_DI_SERINFO, info_of) == 0) {
        for (unsigned i = 0; i < info_of->dls_cnt && !found; i++) {
            int n = snprintf(path, size, "%s/%s", info_of->dls_serpath[i].dls_name, name);
            found = n > 0 && (size_t)n < size && access(path, R_OK) == 0;
        }
    }
    free(info_of);
    return found;
}

/* $ORIGIN at the beginning of a name is the directory of the caller, too; glibc
 * (elf/dl-load.c, expand_dynamic_string_token) would take that of isan. */
static bool
expand(const char *name, const void *caller, char *path, size_t size)
{
    Dl_info info;
    struct link_map *map = NULL;
    char file[PATH_MAX] = "", *slash;
    const size_t n = strncmp(name, "$ORIGIN", 7) == 0 ? 7 : strncmp(name, "${ORIGIN}", 9) == 0 ? 9 : 0;
    if (n == 0 || getauxval(AT_SECURE) != 0
        || dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || map == NULL) {
        return false;
    }
    if (map->l_name[0] == '/') {            /* not resolved: a link counts as where it is */
        snprintf(file, sizeof file, "%s", map->l_name);
    }
    else if (realpath(map->l_name[0] != 0 ? map->l_name : "/proc/self/exe", file) == NULL) {
        return false;
    }
    if ((slash = strrchr(file, '/')) == NULL) {
        return false;
    }
    int length = snprintf(path, size, "%.*s%s", (int)(slash - file), file, name + n);
    return length > 0 && (size_t)length < size;
}

__attribute__((visibility("default"))) void *
dlopen(const char *name, int flags)
{
    static open_function *real;
    char path[PATH_MAX];
    if (real == NULL) {
        real = (open_function *)dlsym(RTLD_NEXT, "dlopen");
    }
    void *handle = NULL;
    if (name != NULL && name[0] != 0 && strchr(name, '/') == NULL
        && (handle = real(name, flags | RTLD_NOLOAD)) == NULL
        && find(name, __builtin_return_address(0), path, sizeof path)) {
        handle = real(path, flags);
    }
    else if (name != NULL && name[0] == '$' && expand(name, __builtin_return_address(0), path, sizeof path)) {
        handle = real(path, flags);
    }
    if (handle == NULL) {
        handle = real(name, flags);
    }
    if (handle != NULL) {
        isan__publish_module_loaded(handle);
        dlerror();                          /* what isan looked for in vain is no error of the caller's */
    }
    return handle;
}

__attribute__((visibility("default"))) int
dlclose(void *handle)
{
    static close_function *real;
    struct link_map *map;
    const void *dynamic = NULL;
    if (real == NULL) {
        real = (close_function *)dlsym(RTLD_NEXT, "dlclose");
    }
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
        isan__peek(&dynamic, &map->l_ld, sizeof dynamic);
    }
    int result = real(handle);
    if (result == 0 && dynamic != NULL) {
        isan__modules_closed(dynamic);
    }
    return result;
}
