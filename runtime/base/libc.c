/* isan's own versions of functions of the C library.  No other library sees them.
 *
 * In an interpreter built with ThreadSanitizer, the C library's functions are TSan's
 * interceptors.  They may wait for locks that TSan holds while it makes a report, and to make
 * one TSan calls dl_iterate_phdr (ListOfModules::init in sanitizer_linux_libcdep.cpp).  A thread
 * that called an interceptor within dl_iterate_phdr would never go on.
 *
 * So this file has every such function that isan calls there.  String functions are written
 * here, and compiled so that no loop becomes a call of the function itself.  Longer functions
 * are looked up in the C library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int (*print)(char *to, size_t size, const char *format, va_list args);
static int (*get_time)(clockid_t clock, struct timespec *time);

/* Runs before the rest of isan.  TSan's functions are in the executable, which RTLD_NEXT skips.
 * Constructors of other libraries may call isan's interceptors even earlier (elf/dl-init.c runs
 * those of the last preloaded library first). */
__attribute__((constructor(101))) static void
find_libc_functions(void)
{
    *(void **)&print = dlsym(RTLD_NEXT, "vsnprintf");
    *(void **)&get_time = dlsym(RTLD_NEXT, "clock_gettime");
}

int
vsnprintf(char *restrict to, size_t size, const char *restrict format, va_list args)
{
    if (print == NULL) {
        find_libc_functions();
    }
    return print(to, size, format, args);
}

int
snprintf(char *restrict to, size_t size, const char *restrict format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(to, size, format, args);
    va_end(args);
    return n;
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
    if (get_time == NULL) {
        find_libc_functions();
    }
    return get_time(clock, time);
}

int
mprotect(void *address, size_t size, int protection)
{
    return (int)syscall(SYS_mprotect, address, size, protection);
}

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

void *
memcpy(void *restrict to, const void *restrict from, size_t n)
{
    char *t = to;
    const char *f = from;
    for (; n >= sizeof(word); n -= sizeof(word), t += sizeof(word), f += sizeof(word)) {
        *(word *)t = *(const word *)f;
    }
    while (n-- > 0) {
        *t++ = *f++;
    }
    return to;
}

void *
mempcpy(void *restrict to, const void *restrict from, size_t n)
{
    return (char *)memcpy(to, from, n) + n;
}

void *
memmove(void *to, const void *from, size_t n)
{
    if ((uintptr_t)to - (uintptr_t)from >= n) {
        return memcpy(to, from, n);
    }
    char *t = to;
    const char *f = from;
    while (n-- > 0) {
        t[n] = f[n];
    }
    return to;
}

void *
memset(void *to, int byte, size_t n)
{
    char *t = to;
    const word all = (unsigned char)byte * UINT64_C(0x0101010101010101);
    for (; n >= sizeof(word); n -= sizeof(word), t += sizeof(word)) {
        *(word *)t = all;
    }
    while (n-- > 0) {
        *t++ = (char)byte;
    }
    return to;
}

int
memcmp(const void *one, const void *other, size_t n)
{
    const unsigned char *a = one, *b = other;
    for (; n > 0; n--, a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}

void *
memchr(const void *in, int byte, size_t n)
{
    for (const unsigned char *p = in; n > 0; n--, p++) {
        if (*p == (unsigned char)byte) {
            return (void *)p;
        }
    }
    return NULL;
}

size_t
strlen(const char *s)
{
    size_t n = 0;
    while (s[n] != 0) {
        n++;
    }
    return n;
}

int
strncmp(const char *one, const char *other, size_t n)
{
    const unsigned char *a = (const unsigned char *)one, *b = (const unsigned char *)other;
    for (; n > 0 && *a == *b && *a != 0; n--, a++, b++) {
    }
    return n > 0 ? *a - *b : 0;
}

int
strcmp(const char *one, const char *other)
{
    return strncmp(one, other, SIZE_MAX);
}

char *
strchr(const char *s, int c)
{
    for (; *s != (char)c; s++) {
        if (*s == 0) {
            return NULL;
        }
    }
    return (char *)s;
}

char *
strrchr(const char *s, int c)
{
    const char *last = NULL;
    for (; (s = strchr(s, c)) != NULL; s++) {
        last = s;
        if (c == 0) {
            break;
        }
    }
    return (char *)last;
}

char *
strstr(const char *s, const char *wanted)
{
    for (size_t n = strlen(wanted); strncmp(s, wanted, n) != 0; s++) {
        if (*s == 0) {
            return NULL;
        }
    }
    return (char *)s;
}

size_t
strcspn(const char *s, const char *stop)
{
    size_t n = 0;
    while (s[n] != 0 && strchr(stop, s[n]) == NULL) {
        n++;
    }
    return n;
}

char *
stpcpy(char *restrict to, const char *restrict from)
{
    while ((*to = *from++) != 0) {
        to++;
    }
    return to;
}

char *
strcpy(char *restrict to, const char *restrict from)
{
    memcpy(to, from, strlen(from) + 1);
    return to;
}
