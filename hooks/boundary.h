/* The C API at the extension boundary. */
#ifndef ISAN_HOOKS_BOUNDARY_H
#define ISAN_HOOKS_BOUNDARY_H

#include "runtime/base/compiler.h"

void isan__boundary_wrap_modules(void);     /* in all modules that are new */

#endif
