/* The built-in module `_isan`. */
#ifndef ISAN_API_PYMODULE_H
#define ISAN_API_PYMODULE_H

#include "runtime/base/compiler.h"

void isan__module_init(void);               /* call it before Python is initialised */

#endif
