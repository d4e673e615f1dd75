/* Wrappers of memcpy() and its like.  A watched module calls these instead.  Calls that store into
 * its own variables are checked like its own stores. */
#define _GNU_SOURCE
#include "runtime/detect/store_wrappers.h"

#ifdef __x86_64__

#include <stdarg.h>
#include <stdio.h>

#include "runtime/base/table.h"
#include "runtime/core/thread.h"
#include "runtime/detect/store_sites.h"

/* Checks the call that returns to `back` and is about to write `size` bytes. */
static void
check_call(void *to, size_t size, void *back)
{
    /* Like `visited` of a site, by the hash of the return address.  Calls with the same hash share
     * their first pauses. */
    static uint64_t visited[1024];
    if (size == 0 || !isan__store_gate_is_open((uintptr_t)to)) {
        return;
    }
    struct isan__store_target target = {
        .address = (uint64_t)to, .size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX,
    };
    uint64_t now = __builtin_ia32_rdtsc(), ms = 0;
    uint64_t *seen = &visited[isan__hash(&back, sizeof back, 0) % 1024], bit = 1ull << (isan__self.slot & 63);
    if (!(__atomic_fetch_or(seen, bit, __ATOMIC_RELAXED) & bit)) {
        ms = ISAN__FIRST_PAUSE_MS;
    }
    else if (isan__store_pause_is_due(now)) {
        isan__store_pause_next(now);
        ms = ISAN__LATER_PAUSE_MS;
    }
    isan__store_collide(&target, ms, NULL);
}

/* With _FORTIFY_SOURCE calls have these names, if the compiler knows the size of the memory. */
void *__memcpy_chk(void *, const void *, size_t, size_t);
void *__memmove_chk(void *, const void *, size_t, size_t);
void *__memset_chk(void *, int, size_t, size_t);
char *__strcpy_chk(char *, const char *, size_t);
char *__strncpy_chk(char *, const char *, size_t, size_t);
int __vsprintf_chk(char *, int, size_t, const char *, va_list);
int __vsnprintf_chk(char *, size_t, int, size_t, const char *, va_list);

#define STORES(result, name, arguments, to, size, call)                         \
    static result store_##name arguments                                        \
    {                                                                           \
        check_call(to, size, __builtin_return_address(0));                      \
        return call;                                                            \
    }
STORES(void *, memcpy, (void *to, const void *from, size_t n), to, n, memcpy(to, from, n))
STORES(void *, memmove, (void *to, const void *from, size_t n), to, n, memmove(to, from, n))
STORES(void *, memset, (void *to, int c, size_t n), to, n, memset(to, c, n))
STORES(char *, strcpy, (char *to, const char *from), to, strlen(from) + 1, strcpy(to, from))
STORES(char *, strncpy, (char *to, const char *from, size_t n), to, n, strncpy(to, from, n))
STORES(int, vsnprintf, (char *to, size_t n, const char *format, va_list args), to, n != 0,
       vsnprintf(to, n, format, args))
STORES(void *, __memcpy_chk, (void *to, const void *from, size_t n, size_t room), to, n,
       __memcpy_chk(to, from, n, room))
STORES(void *, __memmove_chk, (void *to, const void *from, size_t n, size_t room), to, n,
       __memmove_chk(to, from, n, room))
STORES(void *, __memset_chk, (void *to, int c, size_t n, size_t room), to, n, __memset_chk(to, c, n, room))
STORES(char *, __strcpy_chk, (char *to, const char *from, size_t room), to, strlen(from) + 1,
       __strcpy_chk(to, from, room))
STORES(char *, __strncpy_chk, (char *to, const char *from, size_t n, size_t room), to, n,
       __strncpy_chk(to, from, n, room))

/* A function with any number of arguments is known to write the first byte at least. */
#define PRINTS(name, arguments, last, n, call)                                  \
    static int store_##name arguments                                           \
    {                                                                           \
        va_list args;                                                           \
        check_call(to, n != 0, __builtin_return_address(0));                    \
        va_start(args, last);                                                   \
        int result = call;                                                      \
        va_end(args);                                                           \
        return result;                                                          \
    }
PRINTS(sprintf, (char *to, const char *format, ...), format, 1, vsprintf(to, format, args))
PRINTS(snprintf, (char *to, size_t n, const char *format, ...), format, n, vsnprintf(to, n, format, args))
PRINTS(__sprintf_chk, (char *to, int flag, size_t room, const char *format, ...), format, 1,
       __vsprintf_chk(to, flag, room, format, args))
PRINTS(__snprintf_chk, (char *to, size_t n, int flag, size_t room, const char *format, ...), format, n,
       __vsnprintf_chk(to, n, flag, room, format, args))

void *
isan__store_wrapper(const char *name, bool call, void *unused)
{
    static const struct { const char *name; void *function; } functions[] = {
#define FUNCTION(name) { #name, (void *)store_##name }
        FUNCTION(memcpy), FUNCTION(memmove), FUNCTION(memset), FUNCTION(strcpy), FUNCTION(strncpy),
        FUNCTION(vsnprintf), FUNCTION(sprintf), FUNCTION(snprintf),
        FUNCTION(__memcpy_chk), FUNCTION(__memmove_chk), FUNCTION(__memset_chk),
        FUNCTION(__strcpy_chk), FUNCTION(__strncpy_chk), FUNCTION(__sprintf_chk), FUNCTION(__snprintf_chk),
#undef FUNCTION
    };
    (void)call;
    (void)unused;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, name) == 0) {
            return functions[i].function;
        }
    }
    return NULL;
}

#endif
