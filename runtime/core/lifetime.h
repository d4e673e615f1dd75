/* Interpreters begin and end. */
#ifndef ISAN_CORE_LIFETIME_H
#define ISAN_CORE_LIFETIME_H

#include "runtime/core/interp.h"

isan__slot_t isan__register_interp(const void *interp);     /* a new one, or one that is known; 0: no slot */
void isan__interp_finalize(isan__slot_t slot);
void isan__interp_end(isan__slot_t slot);                   /* its memory has just been freed */
void isan__main_end(isan__slot_t slot);                     /* Python has been finalised */

#endif
