/* Races that ThreadSanitizer reports. */
#ifndef ISAN_DETECT_RACE_TSAN_H
#define ISAN_DETECT_RACE_TSAN_H

#include "runtime/base/compiler.h"

struct link_map;                            /* <link.h> */

void isan__race_tsan_init(void);
/* Makes a finding of ThreadSanitizer's report.  0: the report is not about a race. */
int isan__race_tsan_report(const void *report);
void isan__race_tsan_thread_entered(uint32_t serial);   /* subscriber of thread_entered */
/* Notes in the log if an extension that has been loaded was not built with ThreadSanitizer. */
void isan__race_tsan_check_module(void *handle, const struct link_map *map);

#endif
