/* The C API at the extension boundary. */
#ifndef ISAN_HOOKS_BOUNDARY_H
#define ISAN_HOOKS_BOUNDARY_H

#include "runtime/base/compiler.h"

struct link_map;                            /* <link.h> */
/* Wraps the imports of all new modules.  opened: the result of dlopen(); NULL: the process
 * starts. */
void isan__boundary_wrap_modules(const struct link_map *opened);

#endif
