/* Writes the records of leaks into the log. */
#ifndef ISAN_DETECT_LEAK_RECORD_H
#define ISAN_DETECT_LEAK_RECORD_H

#include "runtime/detect/gc_visibility.h"
#include "runtime/detect/leak_group.h"

/* Records the group, its retainer, what it keeps alive, and the path to a sample of that. */
void isan__leak_record_group(struct isan__leak_analysis *a, struct isan__leak_group *group);
/* Records why the collector could not clear the group's cycle, once for each member.  False: the
 * log is full. */
bool isan__leak_record_reason(struct isan__leak_analysis *a, const struct isan__leak_group *group,
    const struct isan__gc_reason *why);

#endif
