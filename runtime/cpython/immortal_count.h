/* The reference counts of immortal objects (PEP 683). */
#ifndef ISAN_CPYTHON_IMMORTAL_COUNT_H
#define ISAN_CPYTHON_IMMORTAL_COUNT_H

#include "runtime/base/compiler.h"

void isan__immortal_counts_init(void);      /* after isan__python_init() */
/* By how much the count differs from the initial count of every immortal object. */
int64_t isan__immortal_difference(const void *op);
/* Do Py_INCREF (taken) or Py_DECREF of this release count a reference to an immortal object if its
 * count differs by this much? */
bool isan__immortal_counted(int64_t difference, bool taken);
/* Could the object be deallocated by now? */
bool isan__is_mortal_now(const void *op);

#endif
