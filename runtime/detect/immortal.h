/* Changed reference counts of immortal objects. */
#ifndef ISAN_DETECT_IMMORTAL_H
#define ISAN_DETECT_IMMORTAL_H

#include "runtime/base/compiler.h"

void isan__immortals_init(void);
void isan__immortals_forked(int unused);     /* subscriber of forked */
struct dl_phdr_info;                        /* <link.h> */
void isan__immortal_add_suspect(const struct dl_phdr_info *info);    /* this module is imported */
/* Compares all counts.  The text says at what, such as "the import of x.so". */
void isan__scan_immortals(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
