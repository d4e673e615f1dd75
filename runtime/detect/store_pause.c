/* Pauses and collisions: these show that two threads store into the same memory at a time.
 *
 * A thread that pauses before a store enters it in `pauses`.  A thread that comes to a
 * store looks there first.  If it finds the same memory, and the two interpreters have
 * different GILs, nothing keeps the two stores apart: no GIL, no other lock, no once.
 * The second thread leaves its access with the first one and goes on.  The first one
 * reports the race.
 */
#define _GNU_SOURCE
#include "runtime/detect/store_pause.h"

#ifdef __x86_64__

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/check.h"
#include "runtime/base/table.h"
#include "runtime/core/attach.h"
#include "runtime/core/origin.h"
#include "runtime/detect/race.h"

#define NS_PER_MS 1000000u
enum {
    MAX_PAUSES = 16,                        /* at a time */
    PAUSE_INTERVAL_MS = 50,                 /* between two of the later pauses, in the whole process */
    PAUSE_BUDGET_MS = 1000,                 /* all pauses together take no more than this, */
    PAUSE_SHARE = 10,                       /* and then a tenth of the time */
    STALE_PAUSE_MS = 1000,                  /* a pause that ended so long ago was left by a signal handler's jump */
};

/* A store that a thread is about to make. */
struct access {
    struct isan__store_target to;
    uint32_t interp, tid, stack;            /* serial; thread and stack as in the log */
    isan__slot_t slot;
    bool detached;                          /* without the GIL of the interpreter */
};

enum { PAUSE_FREE, PAUSE_WAITS, PAUSE_COLLIDED };
static struct pause {
    uint32_t state;                         /* PAUSE_*; a futex */
    uint64_t until;                         /* ns */
    struct access mine, other;              /* of the thread that pauses; of the one that collided with it */
} pauses[MAX_PAUSES];
static struct isan__lock pauses_lock = { .rank = ISAN__RANK_RACE_STORES };

static uint64_t next_pause;                 /* ticks */
static uint64_t paused_ns;                  /* by all threads together */
static struct { uint64_t ticks, ns; } start;    /* of the process */

/* --- time ------------------------------------------------------------------------------ */

static uint64_t
monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The frequency of the counter is known from the time since the process began. */
static uint64_t
ticks_in(uint64_t ms)
{
    uint64_t ns = monotonic_ns() - start.ns;
    return ns < NS_PER_MS ? ms * 2000000 : ms * ((__builtin_ia32_rdtsc() - start.ticks) / (ns / 1000)) * 1000;
}

ISAN__GENERAL_REGISTERS bool
isan__store_pause_is_due(uint64_t now)
{
    return now >= next_pause;
}

uint64_t
isan__store_pause_next(uint64_t now)
{
    uint64_t interval = ticks_in(PAUSE_INTERVAL_MS);
    next_pause = now + interval;
    return interval;
}

void
isan__store_pause_init(void)
{
    start.ticks = __builtin_ia32_rdtsc();
    start.ns = monotonic_ns();
}

/* The child has none of the threads that pause. */
void
isan__store_pause_forked(void)
{
    memset(pauses, 0, sizeof pauses);
}

/* --- collisions ------------------------------------------------------------------------- */

bool
isan__store_is_excused(const struct isan__store_target *a, const struct isan__store_target *b)
{
#define ISAN_STORE_RULE(name, reason, condition) if (condition) return true;
#include "runtime/detect/rules.inc"
    return false;
}

ISAN__GENERAL_REGISTERS static bool
targets_overlap(const struct isan__store_target *a, const struct isan__store_target *b)
{
    return a->address < b->address + b->size && b->address < a->address + a->size;
}

ISAN__GENERAL_REGISTERS bool
isan__store_has_pause(const struct isan__store_target *to)
{
    for (const struct pause *p = pauses; p < pauses + MAX_PAUSES; p++) {
        if (__atomic_load_n(&p->state, __ATOMIC_RELAXED) == PAUSE_WAITS && targets_overlap(&p->mine.to, to)) {
            return true;
        }
    }
    return false;
}

/* The pause that the access collides with, or NULL.  Under the lock. */
static struct pause *
find_collision(const struct access *mine, uint64_t now)
{
    for (struct pause *p = pauses; p < pauses + MAX_PAUSES; p++) {
        if (p->state == PAUSE_WAITS && now < p->until && targets_overlap(&p->mine.to, &mine->to)
            && p->mine.tid != mine->tid && !isan__share_gil(p->mine.slot, mine->slot)
            && !isan__store_is_excused(&p->mine.to, &mine->to)) {
            return p;
        }
    }
    return NULL;
}

/* A free entry for a pause, or NULL.  Under the lock. */
static struct pause *
find_free_pause(uint64_t now)
{
    for (struct pause *p = pauses; p < pauses + MAX_PAUSES; p++) {
        if (p->state == PAUSE_FREE || now > p->until + STALE_PAUSE_MS * (uint64_t)NS_PER_MS) {
            return p;
        }
    }
    return NULL;
}

static void
report_collision(const struct access *mine, const struct access *other)
{
    uint64_t address = mine->to.address;
    struct isan__race race = {
        .holder = { .address = address }, .current = mine->interp, .stack = mine->stack,
        .key = isan__table_key(ISAN__KEY_RACE_STORE, &address, sizeof address),
    };
    const struct isan_rec_finding *r = isan__report_race(&race);
    if (r == NULL) {
        return;
    }
    const struct access *const both[] = { mine, other };
    for (int i = 0; i < 2; i++) {
        isan__finding_add_place(&(struct isan_rec_place){
            .finding = r->id, .role = ISAN__PLACE_access,
            .flags = ISAN_PLACE_WRITE | (both[i]->detached ? ISAN_PLACE_DETACHED : 0),
            .stack = both[i]->stack, .tid = both[i]->tid, .interp = both[i]->interp,
            .amount = both[i]->to.size }, "");
    }
    isan__publish_finding_made(r->id);
}

/* This thread's access collides with a pause.  Its stack is recorded without the lock,
 * so the pause may be over by then: false. */
static bool
collide_with_pause(struct access *mine, ucontext_t *here)
{
    mine->stack = isan__record_stack(here);
    isan__lock(&pauses_lock);
    struct pause *p = find_collision(mine, monotonic_ns());
    if (p != NULL) {
        p->other = *mine;
        p->state = PAUSE_COLLIDED;
        syscall(SYS_futex, &p->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    isan__unlock(&pauses_lock);
    return p != NULL;
}

/* Returns the state that the pause ended in, and leaves it free. */
static uint32_t
wait_in_pause(struct pause *p, uint64_t until, struct access *other)
{
    uint64_t now;
    while (__atomic_load_n(&p->state, __ATOMIC_ACQUIRE) == PAUSE_WAITS && (now = monotonic_ns()) < until) {
        struct timespec rest = { .tv_nsec = (long)(until - now) };
        syscall(SYS_futex, &p->state, FUTEX_WAIT_PRIVATE, PAUSE_WAITS, &rest, NULL, 0);
    }
    isan__lock(&pauses_lock);
    uint32_t state = p->state;
    *other = p->other;
    p->state = PAUSE_FREE;
    isan__unlock(&pauses_lock);
    return state;
}

static bool
collide_or_pause(struct access *mine, uint64_t ms, ucontext_t *here)
{
    uint64_t now = monotonic_ns(), until = now + ms * NS_PER_MS;
    isan__lock(&pauses_lock);
    if (find_collision(mine, now) != NULL) {
        isan__unlock(&pauses_lock);
        return collide_with_pause(mine, here);
    }
    struct pause *p = ms != 0 ? find_free_pause(now) : NULL;
    if (p == NULL) {
        isan__unlock(&pauses_lock);
        return false;
    }
    p->mine = *mine;
    p->until = until;
    p->state = PAUSE_WAITS;
    isan__unlock(&pauses_lock);
    struct access other;
    if (wait_in_pause(p, until, &other) != PAUSE_COLLIDED) {
        return false;
    }
    mine->stack = isan__record_stack(here);
    report_collision(mine, &other);
    return true;
}

/* A thread that holds a lock of isan's, or is in the allocator, neither pauses nor
 * collides: recording a finding may need what it holds. */
bool
isan__store_collide(const struct isan__store_target *to, uint64_t ms, ucontext_t *here)
{
    if (isan__lock_state.held != 0 || isan__self.nested || isan__lock_state.crashing || !isan__recording) {
        return false;
    }
    int error = errno;
    bool reported = false;
    isan__sync_thread_state(true);
    struct access mine = { .to = *to, .slot = isan__self.slot };
    const struct isan__interp *i = isan__interp_of(mine.slot);
    if (i->serial != 0 && !i->ended) {
        mine.interp = i->serial;
        mine.tid = isan__tid();
        mine.detached = isan__slot == 0;
        uint64_t begin = monotonic_ns();
        if (paused_ns > PAUSE_BUDGET_MS * (uint64_t)NS_PER_MS + (begin - start.ns) / PAUSE_SHARE) {
            ms = 0;
        }
        reported = collide_or_pause(&mine, ms, here);
        if (ms != 0) {
            __atomic_add_fetch(&paused_ns, monotonic_ns() - begin, __ATOMIC_RELAXED);
        }
    }
    errno = error;
    ISAN__ASSERT(isan__holds_no_lock());
    return reported;
}

#endif
