/* Thread-local storage of other threads, as glibc has it on x86-64.
 *
 * The thread's pointer is to a tcbhead_t (sysdeps/x86_64/nptl/tls.h).  That begins
 * with a pointer to itself and one to the thread's dtv, the table of its TLS blocks
 * by module (sysdeps/generic/dl-dtv.h); nptl_db relies on this too.  A block of a
 * module that was unloaded since may be taken for one of the module that got its
 * number.
 */
#include "runtime/elf/tls.h"

#include "runtime/base/os.h"

uintptr_t
isan__thread_pointer(void)
{
    uintptr_t pointer = 0;
#ifdef __x86_64__
    __asm__("movq %%fs:0, %0" : "=r"(pointer));
#endif
    return pointer;
}

const char *
isan__tls_block(uintptr_t pointer, size_t module)
{
    struct { uintptr_t self; const char *dtv; } tcb;
    size_t last;                            /* dtv[-1]: how many there are */
    const char *block;
    if (!isan__peek(&tcb, (void *)pointer, sizeof tcb) || tcb.self != pointer
        || !isan__peek(&last, tcb.dtv - 16, sizeof last) || module > last
        || !isan__peek(&block, tcb.dtv + 16 * module, sizeof block)
        || (intptr_t)block == -1) {         /* TLS_DTV_UNALLOCATED */
        return NULL;
    }
    return block;
}
