/* The functions that the checks and edits of an instrumented Python call. */
#ifndef ISAN_HOOKS_INSTRUMENTED_H
#define ISAN_HOOKS_INSTRUMENTED_H

#include "isan/refcount.h"

extern const struct isan__hooks isan__hook_table;

#endif
