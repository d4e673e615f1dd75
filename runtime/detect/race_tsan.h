/* Races that ThreadSanitizer sees. */
#ifndef ISAN_DETECT_RACE_TSAN_H
#define ISAN_DETECT_RACE_TSAN_H

#include "runtime/base/compiler.h"

struct link_map;                            /* <link.h> */

void isan__race_tsan_init(void);
int isan__race_tsan_report(const void *report);    /* 0: it is none */
void isan__race_tsan_thread_entered(uint32_t serial);   /* subscriber of thread_entered */
void isan__race_tsan_check_module(void *handle, const struct link_map *map);     /* say so if it was not built with it */

#endif
