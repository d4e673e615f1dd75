/* Linked into the executables of a CPython built with ThreadSanitizer.
 *
 * TSan's run time is part of the executable.  The linker of the executable
 * decides which of TSan's overridable functions the program defines, so a
 * definition in libisan.so would come too late.  These functions pass on to
 * isan (runtime/detect/race_tsan.c).
 */
#include "isan/refcount.h"

#include <errno.h>
#include <pthread.h>
#include <threads.h>

#define EXPORT __attribute__((visibility("default"), used))

/* isan reports races and crashes itself, and names functions and variables
 * itself.  TSAN_OPTIONS of the user still overrides this.  A thread remembers
 * (2 + history_size) * 32768 events; a race with an older access is not seen. */
EXPORT const char *
__tsan_default_options(void)
{
    return "symbolize=0:suppress_equal_stacks=0:history_size=62:atexit_sleep_ms=0:die_after_fork=0"
           ":detect_deadlocks=0:report_thread_leaks=0:report_destroy_locked=0:report_mutex_bugs=0"
           ":report_signal_unsafe=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0";
}

/* Tag accesses, and copies of memory that isan makes, are not the program's. */
EXPORT const char *
__tsan_default_suppressions(void)
{
    return "called_from_lib:libisan.so.0\n";
}

/* bool __tsan::OnReport(const ReportDesc *report, bool suppressed): true if TSan
 * must not print the report.  `suppressed`: by a file that TSAN_OPTIONS names. */
EXPORT _Bool
_ZN6__tsan8OnReportEPKNS_10ReportDescEb(const void *report, _Bool suppressed)
{
    return suppressed || isan__hooks == 0 || isan__hooks->race(report);
}

/* glibc's C11 locks are its POSIX locks under other names, but TSan does not
 * intercept them (nptl/call_once.c, nptl/mtx_lock.c). */
EXPORT void
call_once(once_flag *flag, void (*function)(void))
{
    pthread_once((pthread_once_t *)flag, function);
}

static int
result(int error)
{
    return error == 0 ? thrd_success : error == EBUSY ? thrd_busy
        : error == ETIMEDOUT ? thrd_timedout : error == ENOMEM ? thrd_nomem : thrd_error;
}

EXPORT int
mtx_lock(mtx_t *mutex)
{
    return result(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

EXPORT int
mtx_trylock(mtx_t *mutex)
{
    return result(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

EXPORT int
mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict time)
{
    return result(pthread_mutex_timedlock((pthread_mutex_t *)mutex, time));
}

EXPORT int
mtx_unlock(mtx_t *mutex)
{
    return result(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}
