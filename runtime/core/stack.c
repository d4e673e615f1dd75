/* Native stacks (libunwind) and the modules their addresses are in. */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include "runtime/core/stack.h"

#include <libunwind.h>

#include "runtime/base/table.h"
#include "runtime/core/log.h"
#include "runtime/core/thread.h"
#include "runtime/elf/modules.h"

static int
unwind_from(uint64_t *pcs, int max, void *ucontext)
{
    unw_cursor_t cursor;
    int n = 0;
    if (unw_init_local2(&cursor, ucontext, UNW_INIT_SIGNAL_FRAME) < 0) {
        return 0;
    }
    do {
        unw_word_t pc;
        if (unw_get_reg(&cursor, UNW_REG_IP, &pc) < 0 || pc == 0) {
            break;
        }
        pcs[n++] = pc;
    } while (n < max && unw_step(&cursor) > 0);
    return n;
}

int
isan__unwind(uint64_t *pcs, int max, void *ucontext)
{
    uint8_t outer = isan__self.unwinding;   /* a signal's handler may interrupt the unwinder */
    isan__self.unwinding = true;
    /* Without a context: the fast path, a per-thread cache and no system calls. */
    int n = ucontext != NULL ? unwind_from(pcs, max, ucontext) : unw_backtrace((void **)pcs, max);
    isan__self.unwinding = outer;
    return n;
}

/* What the log has: a module's start -> hash of its path and end.  Without an entry it is
 * written again, which does no harm: the newest record counts. */
static struct isan__table logged = ISAN__TABLE;

static bool
log_module(const struct isan__module *m, void *arg)
{
    uint64_t mark = isan__hash(m->path, strlen(m->path), m->end) | 1;
    const char *text[] = { m->path, m->build_id };
    (void)arg;
    if (isan__table_get(&logged, m->start) == mark) {
        return true;
    }
    struct isan_rec_module *r = isan__log_reserve(sizeof *r + isan__log_strings_size(text, 2));
    if (r != NULL) {
        r->bias = m->base;
        r->start = m->start;
        r->end = m->end;
        isan__log_put_strings(r->text, text, 2);
        isan__log_publish(r, ISAN_REC_MODULE);
        isan__table_put_or_drop(&logged, m->start, mark);
    }
    return true;
}

void
isan__log_modules(void)
{
    static uint64_t done;                   /* generation */
    uint64_t now = isan__modules_generation();
    if (now != __atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        isan__visit_modules(log_module, NULL);
        __atomic_store_n(&done, now, __ATOMIC_RELEASE);
    }
}
