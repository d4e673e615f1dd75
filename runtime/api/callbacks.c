/* User callbacks for new findings (isan_on_finding(), include/isan/isan.h).
 *
 * A finding is made in a check, where no code of the program may run.  So each callback has
 * a thread of its own.  A new finding only wakes that thread. */
#define _GNU_SOURCE
#include "runtime/api/callbacks.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "isan/isan.h"
#include "runtime/base/lock.h"
#include "runtime/core/kinds.h"
#include "runtime/core/log.h"

static uint32_t event;                      /* a futex; goes up with each finding and each wake */
static uint32_t n_waiting;                  /* threads that wait for it */

static const char *const kind_names[] = {
#define ISAN_KIND(name, title, hint) #name,
#include "runtime/core/kinds.inc"
};
static const char *const access_names[] = {
#define ISAN_ACCESS(name) #name,
#include "runtime/core/kinds.inc"
};

void
isan__callbacks_wake(void)
{
    __atomic_add_fetch(&event, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&n_waiting, __ATOMIC_SEQ_CST) != 0) {
        syscall(SYS_futex, &event, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
}

void
isan__findings_changed(uint32_t id)
{
    (void)id;
    isan__callbacks_wake();
}

uint32_t
isan__callbacks_event(void)
{
    return __atomic_load_n(&event, __ATOMIC_SEQ_CST);
}

void
isan__callbacks_wait(uint32_t seen)
{
    __atomic_add_fetch(&n_waiting, 1, __ATOMIC_SEQ_CST);
    while (isan__callbacks_event() == seen) {
        syscall(SYS_futex, &event, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
    __atomic_sub_fetch(&n_waiting, 1, __ATOMIC_SEQ_CST);
}

/* --- isan_get_finding() --------------------------------------------------------------- */

static uint32_t
finding_number(const struct isan_rec *rec)
{
    return rec->type == ISAN_REC_FINDING ? ((const struct isan_rec_finding *)rec)->number
        : rec->type == ISAN_REC_LEAK ? ((const struct isan_rec_leak *)rec)->number : 0;
}

/* The id of the interpreter with that serial; -1: none.  An interpreter's record comes
 * before any finding about it. */
static long long
interp_id(uint32_t serial)
{
    if (serial != 0) {
        for (const struct isan_rec *rec = NULL; (rec = isan__log_next(rec)) != NULL;) {
            const struct isan_rec_interp *i = (const void *)rec;
            if (rec->type == ISAN_REC_INTERP && i->serial == serial) {
                return (long long)i->id;
            }
        }
    }
    return -1;
}

static void
fill_finding(struct isan_finding *f, const struct isan_rec *rec)
{
    const struct isan_object *object;
    const struct isan_holder *holder;
    const char *type;
    if (rec->type == ISAN_REC_FINDING) {
        const struct isan_rec_finding *r = (const void *)rec;
        f->kind = kind_names[r->kind];
        f->access = access_names[r->access];
        f->current = interp_id(r->current);
        f->count = __atomic_load_n(&r->count, __ATOMIC_RELAXED);
        object = &r->object, holder = &r->holder, type = r->text;
    }
    else {
        const struct isan_rec_leak *r = (const void *)rec;
        f->kind = kind_names[ISAN__KIND_leak];
        f->access = access_names[ISAN__ACCESS_none];
        f->current = -1;
        f->count = r->count;
        object = &r->object, holder = &r->holder, type = r->text;
    }
    f->owner = interp_id(object->owner);
    f->object = (const void *)object->address;
    f->variable = holder->tls ? NULL : (const void *)holder->address;
    strncpy(f->type, type, sizeof f->type - 1);
}

int
(isan_get_finding)(int number, struct isan_finding *to)
{
    if (number <= 0 || (uint32_t)number > isan__log_findings()) {
        return -1;
    }
    /* The number is given before the record is published: retry for a while. */
    for (int tries = 0; tries < 1000; tries++, sched_yield()) {
        for (const struct isan_rec *rec = NULL; (rec = isan__log_next(rec)) != NULL;) {
            if (finding_number(rec) == (uint32_t)number) {
                struct isan_finding f = { .size = sizeof f, .number = number };
                fill_finding(&f, rec);
                f.size = to->size < sizeof f ? to->size : sizeof f;
                memcpy(to, &f, f.size);
                return 0;
            }
        }
    }
    return -1;
}

/* --- callbacks ------------------------------------------------------------------------- */

enum { MAX_CALLBACKS = 16 };
static struct registration {
    isan_callback *callback;
    void *data;
    pthread_t thread;
    uint32_t last;                          /* the last finding that it was called for */
    uint8_t used;
    uint8_t ending;                         /* isan_off_finding() has been called, */
    uint8_t ended_by_itself;                /* in the callback */
} registrations[MAX_CALLBACKS];
static struct isan__lock lock = { .rank = ISAN__RANK_CALLBACKS };

/* A callback that ends itself is called for no other finding, even if one has been made
 * meanwhile.  Only this thread sets `ended_by_itself`. */
static void *
run_callback(void *arg)
{
    struct registration *r = arg;
    for (;;) {
        uint32_t seen = isan__callbacks_event();
        bool ending = __atomic_load_n(&r->ending, __ATOMIC_SEQ_CST);
        uint32_t n = isan__log_findings();
        while (r->last < n && !r->ended_by_itself) {
            r->callback((int)++r->last, r->data);
        }
        if (r->ended_by_itself) {
            __atomic_store_n(&r->used, 0, __ATOMIC_RELEASE);
            return NULL;
        }
        if (ending) {
            return NULL;
        }
        isan__callbacks_wait(seen);
    }
}

int
(isan_on_finding)(isan_callback *callback, void *data)
{
    struct registration *r = NULL;
    isan__lock(&lock);
    for (int i = 0; i < MAX_CALLBACKS && r == NULL; i++) {
        r = isan__recording && !registrations[i].used ? &registrations[i] : NULL;
    }
    if (r != NULL) {
        *r = (struct registration){ callback, data, .last = isan__log_findings(), .used = 1 };
    }
    isan__unlock(&lock);
    if (r == NULL) {
        return -1;
    }
    /* The thread inherits the mask, so no signal handler of the program runs in it. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&r->thread, NULL, run_callback, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        r->used = 0;
        return -1;
    }
    return 0;
}

int
(isan_off_finding)(isan_callback *callback, void *data)
{
    struct registration *r = NULL;
    isan__lock(&lock);
    for (int i = 0; i < MAX_CALLBACKS && r == NULL; i++) {
        if (registrations[i].used && !registrations[i].ending && registrations[i].callback == callback
            && registrations[i].data == data) {
            r = &registrations[i];
            r->ended_by_itself = pthread_equal(pthread_self(), r->thread) != 0;
            __atomic_store_n(&r->ending, 1, __ATOMIC_SEQ_CST);
        }
    }
    isan__unlock(&lock);
    if (r == NULL) {
        return -1;
    }
    if (r->ended_by_itself) {
        pthread_detach(r->thread);
        return 0;
    }
    isan__callbacks_wake();
    pthread_join(r->thread, NULL);
    __atomic_store_n(&r->used, 0, __ATOMIC_RELEASE);
    return 0;
}

/* The threads are not there in a child. */
void
isan__callbacks_forked(int unused)
{
    (void)unused;
    memset(registrations, 0, sizeof registrations);
    n_waiting = 0;
}
