/* Thread-local storage of other threads. */
#ifndef ISAN_ELF_TLS_H
#define ISAN_ELF_TLS_H

#include "runtime/base/compiler.h"

uintptr_t isan__thread_pointer(void);       /* of this thread; 0: not known on this architecture */
/* The TLS block of a module (dlpi_tls_modid) in the thread with that pointer.  The thread may have
 * ended.  NULL: it has no such block. */
const char *isan__tls_block(uintptr_t pointer, size_t module);

#endif
