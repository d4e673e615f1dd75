/* What a failed check does: see check.h. */
#include "runtime/base/check.h"

#include <stdlib.h>

void (*isan__on_check_failed)(void);

bool
isan__check_failed(const char *condition, const char *file, int line)
{
    static int failed;
    if (!__atomic_exchange_n(&failed, 1, __ATOMIC_RELAXED)) {
        isan__say("internal error at %s:%d: not true: %s; please report it with this line", file, line, condition);
#ifdef ISAN_CHECKED
        abort();
#endif
        if (isan__on_check_failed != NULL) {
            isan__on_check_failed();
        }
    }
    return false;
}
