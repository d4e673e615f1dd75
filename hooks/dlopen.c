/* The interceptors of the dynamic linker's functions.  dlopen: a host may load Python with a
 * plug-in, and Python loads its extensions.  dlclose takes modules out of the registry.
 * dl_iterate_phdr tells isan's unwinder what the registry knows. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "runtime/base/check.h"
#include "runtime/base/lock.h"
#include "runtime/core/events.h"
#include "runtime/core/thread.h"
#include "runtime/elf/modules.h"

typedef int iterate_callback(struct dl_phdr_info *, size_t, void *);

static struct {
    void *(*open)(const char *, int);
    int (*close)(void *);
    int (*iterate)(iterate_callback *, void *);
} real;

/* dlsym() takes the dynamic linker's lock.  Constructors that run before this one call it later. */
__attribute__((constructor(101))) static void
find_functions(void)
{
    *(void **)&real.open = dlsym(RTLD_NEXT, "dlopen");
    *(void **)&real.close = dlsym(RTLD_NEXT, "dlclose");
    *(void **)&real.iterate = dlsym(RTLD_NEXT, "dl_iterate_phdr");
}

/* The directories in which the linker looks for a name that the module at `address` opens, from
 * dlinfo(3).  The caller frees them. */
static Dl_serinfo *
search_path_of(const void *address)
{
    Dl_info info;
    struct link_map *map = NULL;
    Dl_serinfo size, *path = NULL;
    if (dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) != 0 && map != NULL
        && dlinfo(map, RTLD_DI_SERINFOSIZE, &size) == 0 && (path = malloc(size.dls_size)) != NULL
        && (dlinfo(map, RTLD_DI_SERINFOSIZE, path) != 0 || dlinfo(map, RTLD_DI_SERINFO, path) != 0)) {
        free(path);
        path = NULL;
    }
    return path;
}

static bool
is_in(const Dl_serinfo *path, const char *directory)
{
    for (unsigned i = 0; i < path->dls_cnt; i++) {
        if (strcmp(path->dls_serpath[i].dls_name, directory) == 0) {
            return true;
        }
    }
    return false;
}

/* In each directory the linker prefers a library for this processor (ld.so(8), glibc-hwcaps). */
static bool
find_in(const char *directory, const char *name, char *path, size_t size)
{
    const char *const levels[] = {
#ifdef __x86_64__
        __builtin_cpu_supports("x86-64-v4") ? "/glibc-hwcaps/x86-64-v4" : NULL,
        __builtin_cpu_supports("x86-64-v3") ? "/glibc-hwcaps/x86-64-v3" : NULL,
        __builtin_cpu_supports("x86-64-v2") ? "/glibc-hwcaps/x86-64-v2" : NULL,
#endif
        "",
    };
    bool found = false;
    for (size_t i = 0; i < sizeof levels / sizeof *levels && !found; i++) {
        int n = levels[i] == NULL ? 0 : snprintf(path, size, "%s%s/%s", directory, levels[i], name);
        found = n > 0 && (size_t)n < size && access(path, R_OK) == 0;
    }
    return found;
}

/* Finds a name without a slash along the caller's RPATH or RUNPATH, as dlopen(3) does.  To the
 * dynamic linker the caller is isan, so it would not look there.  It looks in all the other
 * directories of the caller's, in its cache first (ld.so(8)).  True: `path` is the file. */
static bool
find_along_runpath(const char *name, const void *caller, char *path, size_t size)
{
    Dl_serinfo *theirs = search_path_of(caller), *own = search_path_of((void *)search_path_of);
    bool done = theirs == NULL || own == NULL, found = false;
    for (unsigned i = 0; !done && i < theirs->dls_cnt; i++) {
        const char *directory = theirs->dls_serpath[i].dls_name;
        bool only_theirs = !is_in(own, directory);
        done = find_in(directory, name, path, size);
        found = done && only_theirs;
    }
    free(theirs);
    free(own);
    return found;
}

/* Expands $ORIGIN at the beginning of a name to the caller's directory.  glibc would take isan's
 * (elf/dl-load.c, expand_dynamic_string_token). */
static bool
expand_origin(const char *name, const void *caller, char *path, size_t size)
{
    Dl_info info;
    struct link_map *map = NULL;
    char file[PATH_MAX] = "", *slash;
    const size_t n = strncmp(name, "$ORIGIN", 7) == 0 ? 7 : strncmp(name, "${ORIGIN}", 9) == 0 ? 9 : 0;
    if (n == 0 || getauxval(AT_SECURE) != 0
        || dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || map == NULL) {
        return false;
    }
    if (map->l_name[0] == '/') {            /* the directory of a symbolic link is that of the link */
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
    char path[PATH_MAX];
    if (real.open == NULL) {
        find_functions();
    }
    void *handle = NULL;
    const char *file = name;
    int error = errno;                      /* the program's */
    isan__self.opening++;
    if (name != NULL && name[0] != 0 && strchr(name, '/') == NULL) {
        handle = real.open(name, flags | RTLD_NOLOAD);
        if (handle == NULL && find_along_runpath(name, __builtin_return_address(0), path, sizeof path)) {
            file = path;
        }
    }
    else if (name != NULL && name[0] == '$' && expand_origin(name, __builtin_return_address(0), path, sizeof path)) {
        file = path;
    }
    errno = error;
    if (handle == NULL) {
        handle = real.open(file, flags);
    }
    if (handle == NULL && file != name) {
        handle = real.open(name, flags);
    }
    error = errno;
    isan__self.opening--;
    if (handle != NULL) {
        isan__publish_module_loaded(handle);
        dlerror();                          /* clears errors of isan's own look-ups */
        ISAN__ASSERT(isan__holds_no_lock());
    }
    errno = error;
    return handle;
}

__attribute__((visibility("default"))) int
dlclose(void *handle)
{
    struct link_map *map;
    const void *dynamic = NULL;
    if (real.close == NULL) {
        find_functions();
    }
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
        isan__peek(&dynamic, &map->l_ld, sizeof dynamic);
    }
    int result = real.close(handle), error = errno;
    if (result == 0 && dynamic != NULL) {
        isan__modules_closed(dynamic);
        ISAN__ASSERT(isan__holds_no_lock());
    }
    errno = error;
    return result;
}

struct iteration {
    iterate_callback *callback;
    void *data;
    unsigned long long n_loads, n_unloads;
    int result;
};

static bool
call_back(struct iteration *i, uintptr_t base, const char *path, const void *headers, size_t n_headers)
{
    struct dl_phdr_info info = {
        .dlpi_addr = base, .dlpi_name = path, .dlpi_phdr = headers, .dlpi_phnum = n_headers,
        .dlpi_adds = i->n_loads, .dlpi_subs = i->n_unloads,
    };
    i->result = i->callback(&info, sizeof info, i->data);
    return i->result == 0;
}

static bool
list_known(const struct isan__module *m, void *arg)
{
    return call_back(arg, m->base, m->path, m->headers_copy, m->n_headers);
}

/* The registry does not know a module while its constructors run.  The thread that runs them holds
 * the lock for loading (elf/dl-open.c, _dl_open), so the linker's list stays as it is. */
static void
list_opening(struct iteration *i)
{
    for (const struct link_map *map = _r_debug.r_map; map != NULL && i->result == 0; map = map->l_next) {
        ElfW(Ehdr) header;
        if (!isan__module_is_known(map->l_addr, map->l_name) && isan__peek(&header, (void *)map->l_addr, sizeof header)
            && memcmp(header.e_ident, ELFMAG, SELFMAG) == 0) {
            call_back(i, map->l_addr, map->l_name, (void *)(map->l_addr + header.e_phoff), header.e_phnum);
        }
    }
}

/* libunwind looks for the unwind table of an address with this function (dwarf/Gfind_proc_info-lsb.c).  The linker's own
 * takes a lock.  A callback of the program's, which runs with that lock, may wait for the GIL of the thread that
 * unwinds here. */
__attribute__((visibility("default"))) int
dl_iterate_phdr(iterate_callback *callback, void *data)
{
    if (isan__self.unwinding) {
        uint64_t n_unloads = isan__modules_unloaded();
        struct iteration i = { callback, data, isan__modules_generation() - n_unloads, n_unloads, 0 };
        isan__visit_modules(list_known, &i);
        if (isan__self.opening != 0) {
            list_opening(&i);
        }
        return i.result;
    }
    if (real.iterate == NULL) {
        find_functions();
    }
    return real.iterate(callback, data);
}
