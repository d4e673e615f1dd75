/* The interceptors of _exit() and of the functions that replace the program by another: nothing that
 * exit() does is done, so isan reports now.
 *
 * All of this is async-signal-safe once isan has started.  Calls within glibc bypass
 * these wrappers: exit(), posix_spawn(), system(), execl(), execlp(), execle(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

#include "runtime/core/events.h"
#include "runtime/core/log.h"

static struct {
    void (*exit)(int);
    int (*execve)(const char *, char *const *, char *const *);
    int (*execv)(const char *, char *const *);
    int (*execvp)(const char *, char *const *);
    int (*execvpe)(const char *, char *const *, char *const *);
    int (*fexecve)(int, char *const *, char *const *);
} real;

/* dlsym() takes the dynamic linker's lock.  Constructors that run before this one call it later. */
__attribute__((constructor(101))) static void
find_functions(void)
{
    *(void **)&real.exit = dlsym(RTLD_NEXT, "_exit");
    *(void **)&real.execve = dlsym(RTLD_NEXT, "execve");
    *(void **)&real.execv = dlsym(RTLD_NEXT, "execv");
    *(void **)&real.execvp = dlsym(RTLD_NEXT, "execvp");
    *(void **)&real.execvpe = dlsym(RTLD_NEXT, "execvpe");
    *(void **)&real.fexecve = dlsym(RTLD_NEXT, "fexecve");
}

__attribute__((visibility("default"), noreturn)) void
_exit(int status)
{
    if (real.exit == NULL) {
        find_functions();
    }
    isan__publish_process_ends(&status);
    real.exit(status);
    __builtin_unreachable();
}

__attribute__((visibility("default"), noreturn, alias("_exit"))) void _Exit(int status);

/* Programs that search a path try many names that do not exist (Lib/os.py, _execvpe). */
static void
publish_execution(const char *path)
{
    if (real.exit == NULL) {
        find_functions();
    }
    if (isan__recording && isan__log_is_own() && isan__log_has_findings() && (path == NULL || access(path, F_OK) == 0)) {
        isan__publish_process_ends(NULL);
    }
}

__attribute__((visibility("default"))) int
execve(const char *path, char *const arguments[], char *const environment[])
{
    publish_execution(path);
    return real.execve(path, arguments, environment);
}

__attribute__((visibility("default"))) int
execv(const char *path, char *const arguments[])
{
    publish_execution(path);
    return real.execv(path, arguments);
}

__attribute__((visibility("default"))) int
execvp(const char *file, char *const arguments[])
{
    publish_execution(NULL);
    return real.execvp(file, arguments);
}

__attribute__((visibility("default"))) int
execvpe(const char *file, char *const arguments[], char *const environment[])
{
    publish_execution(NULL);
    return real.execvpe(file, arguments, environment);
}

__attribute__((visibility("default"))) int
fexecve(int file, char *const arguments[], char *const environment[])
{
    publish_execution(NULL);
    return real.fexecve(file, arguments, environment);
}
