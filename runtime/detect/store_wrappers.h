/* Wrappers of functions of the C library that store. */
#ifndef ISAN_DETECT_STORE_WRAPPERS_H
#define ISAN_DETECT_STORE_WRAPPERS_H

#include "runtime/base/compiler.h"

/* For isan__imports_rewrite(): the wrapper of the function with that name, or NULL. */
void *isan__store_wrapper(const char *name, bool call, void *unused);

#endif
