/* Memory, messages, time and threads of the operating system.
 *
 * Code that is reached from a check, an allocation or a finding calls neither
 * malloc nor Python, and takes no lock that the code under test can hold.
 * isan's own memory comes from isan__map(). */
#ifndef ISAN_BASE_OS_H
#define ISAN_BASE_OS_H

#include "runtime/base/compiler.h"

enum { ISAN__PAGE = 4096 };

/* Zeroed memory, rounded up to pages; NULL: there is none. */
void *isan__map(size_t size);
void isan__unmap(void *p, size_t size);     /* p may be NULL */
/* Doubles the room of an array from isan__map(), which may be NULL with room 0: it gets room for
 * `first` elements then.  array: the address of the pointer.  size: of an element.  False: there is
 * no memory, and the array is as it was. */
bool isan__grow(void *array, size_t *room, size_t first, size_t size);

void isan__say(const char *format, ...) ISAN__PRINTF(1, 2);             /* one line on stderr: "isan: ..." */
_Noreturn void isan__die(const char *format, ...) ISAN__PRINTF(1, 2);   /* the same, then exit status 2 */

/* Copies `size` bytes from an address that may not be mapped; false if it is not.
 * errno stays: this is called in the program's malloc and free. */
bool isan__peek(void *to, const void *from, size_t size);
/* The same for a NUL-terminated string, cut to size - 1 bytes. */
bool isan__peek_string(char *to, const char *from, size_t size);
/* stable: the memory is mapped, and stays so. */
static inline bool
isan__read(void *to, const void *from, size_t size, bool stable)
{
    return stable ? (memcpy(to, from, size), true) : isan__peek(to, from, size);
}
/* May the address be one of the program's memory?  The lowest page is never mapped, and
 * addresses of user space have 47 bits (Linux, Documentation/arch/x86/x86_64/mm.rst). */
static inline bool
isan__is_user_address(uint64_t address)
{
    return address >= ISAN__PAGE && address >> 47 == 0;
}
bool isan__has_syscall_filter(void);        /* seccomp(2): a call that it does not allow may be fatal */
/* A predicate for isan__peek(): true if the bytes are mapped and stay so, which
 * saves it a system call. */
extern bool (*isan__is_known_memory)(const char *from, size_t size);

uint64_t isan__now(void);                   /* CLOCK_REALTIME, ns */
uint32_t isan__tid(void);                   /* gettid(2) */
bool isan__thread_lives(uint32_t tid);      /* of this process */
void isan__os_forked(void);                 /* in the child */

#endif
