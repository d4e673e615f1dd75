/* Assertions, in three tiers:
 *
 *   ISAN__CHECK      always; for what is cheap and would corrupt the log or the program
 *   ISAN__ASSERT     in checked builds only (-DISAN_CHECKED: the unit tests and one CI job)
 *   ISAN__EXPENSIVE  with ISAN_OPTIONS=verify=1: walks of the whole shadow, graph or log
 *
 * In a checked build a failure aborts.  Elsewhere isan says so once, stops recording
 * and lets the program go on.  ISAN__CHECK has the condition's value, so that its
 * caller can return. */
#ifndef ISAN_BASE_CHECK_H
#define ISAN_BASE_CHECK_H

#include "runtime/base/options.h"

/* Says what failed; returns false. */
bool isan__check_failed(const char *condition, const char *file, int line);
/* Called once after a failure outside a checked build: stops the recording. */
extern void (*isan__on_check_failed)(void);

#define ISAN__CHECK(condition) \
    (ISAN__LIKELY(condition) || isan__check_failed(#condition, __FILE__, __LINE__))

#ifdef ISAN_CHECKED
#define ISAN__ASSERT(condition) ((void)ISAN__CHECK(condition))
#else
#define ISAN__ASSERT(condition) ((void)sizeof(condition))
#endif

#define ISAN__EXPENSIVE(condition) \
    ((void)(ISAN__UNLIKELY(isan__options.verify) && ISAN__CHECK(condition)))

#endif
