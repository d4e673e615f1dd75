/* Hardware breakpoints that catch writes to the reference count of an immortal object. */
#ifndef ISAN_DETECT_IMMORTAL_WATCH_H
#define ISAN_DETECT_IMMORTAL_WATCH_H

#include "runtime/base/compiler.h"

bool isan__immortal_watch_wanted(const char *name);              /* does the option name it? */
void isan__immortal_watch_add(const char *op, const char *name);
void isan__immortal_watch_begin(void);
void isan__immortal_watch_resume(void);                           /* after a comparison of all counts */
uint32_t isan__immortal_watch_finding(const char *op);           /* id; 0: none, or not watched */
void isan__immortal_watch_forked(void);

#endif
