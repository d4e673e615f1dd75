/* The reference counts of immortal objects (PEP 683). */
#ifndef ISAN_CPYTHON_IMMORTAL_COUNT_H
#define ISAN_CPYTHON_IMMORTAL_COUNT_H

#include "runtime/base/compiler.h"

void isan__immortal_counts_init(void);      /* after isan__python_init() */
bool isan__has_immortals(void);             /* from 3.12 on */
/* Counts of 32 bits, and references on the evaluation stack are not counted (3.14). */
bool isan__immortal_counts_are_new(void);
/* By how much the count differs from that of every immortal object. */
int64_t isan__immortal_difference(const void *op);
/* Does code that knows immortal objects count a reference to one whose count is off by
 * that, when it takes (or else gives back) one? */
bool isan__immortal_counted(int64_t off, bool taken);
bool isan__is_mortal_now(const void *op);   /* it could be deallocated by now */

#endif
