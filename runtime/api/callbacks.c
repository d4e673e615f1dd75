/* Who is told of each finding (include/isan/isan.h).  A finding is made in a
 * trap, where nothing of the program's may run: that only wakes those who
 * wait, each in a thread of its own. */
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

static uint32_t event;                      /* goes up with each finding, and when waiting is to end */
static uint32_t waiting;                    /* threads */

static const char *const kinds[] = {
#define ISAN_KIND(name, title, hint) #name,
#include "runtime/core/kinds.inc"
};
static const char *const accesses[] = {
#define ISAN_ACCESS(name) #name,
#include "runtime/core/kinds.inc"
};

void
isan__callbacks_wake(void)
{
    __atomic_add_fetch(&event, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) != 0) {
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
    __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
    while (isan__callbacks_event() == seen) {
        syscall(SYS_futex, &event, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
    __atomic_sub_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
}

/* --- what is known of a finding ------------------------------------------------------- */

static uint32_t
number_of(const struct isan_rec *rec)
{
    return rec->type == ISAN_REC_FINDING ? ((const struct isan_rec_finding *)rec)->number
        : rec->type == ISAN_REC_LEAK ? ((const struct isan_rec_leak *)rec)->number : 0;
}

/* The interpreter's id; -1: none.  It has its record before any finding about it. */
static long long
id_of(uint32_t serial)
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
describe(struct isan_finding *f, const struct isan_rec *rec)
{
    const struct isan_object *object;
    const struct isan_holder *holder;
    const char *type;
    if (rec->type == ISAN_REC_FINDING) {
        const struct isan_rec_finding *r = (const void *)rec;
        f->kind = kinds[r->kind];
        f->access = accesses[r->access];
        f->current = id_of(r->current);
        f->count = __atomic_load_n(&r->count, __ATOMIC_RELAXED);
        object = &r->object, holder = &r->holder, type = r->text;
    }
    else {
        const struct isan_rec_leak *r = (const void *)rec;
        f->kind = kinds[ISAN__KIND_leak];
        f->access = accesses[ISAN__ACCESS_none];
        f->current = -1;
        f->count = r->count;
        object = &r->object, holder = &r->holder, type = r->text;
    }
    f->owner = id_of(object->owner);
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
    /* Whoever makes it has counted it, and publishes it now. */
    for (int tries = 0; tries < 1000; tries++, sched_yield()) {
        for (const struct isan_rec *rec = NULL; (rec = isan__log_next(rec)) != NULL;) {
            if (number_of(rec) == (uint32_t)number) {
                struct isan_finding f = { .size = sizeof f, .number = number };
                describe(&f, rec);
                f.size = to->size < sizeof f ? to->size : sizeof f;
                memcpy(to, &f, f.size);
                return 0;
            }
        }
    }
    return -1;
}

/* --- callbacks ------------------------------------------------------------------------- */

enum { MAX_LISTENERS = 16 };
static struct listener {
    isan_callback *callback;
    void *data;
    pthread_t thread;
    uint32_t told;                          /* the last finding it was called for */
    uint8_t used, over, detached;           /* detached: it ends in its own callback */
} listeners[MAX_LISTENERS];
static struct isan__lock lock = { .rank = ISAN__RANK_CALLBACKS };

static void *
listen(void *arg)
{
    struct listener *l = arg;
    for (;;) {
        uint32_t seen = isan__callbacks_event();
        bool over = __atomic_load_n(&l->over, __ATOMIC_SEQ_CST);
        uint32_t n = isan__log_findings();
        while (l->told < n) {
            l->callback((int)++l->told, l->data);
        }
        if (over) {
            if (l->detached) {
                __atomic_store_n(&l->used, 0, __ATOMIC_RELEASE);
            }
            return NULL;
        }
        isan__callbacks_wait(seen);
    }
}

int
(isan_on_finding)(isan_callback *callback, void *data)
{
    struct listener *l = NULL;
    isan__lock(&lock);
    for (int i = 0; i < MAX_LISTENERS && l == NULL; i++) {
        l = isan__recording && !listeners[i].used ? &listeners[i] : NULL;
    }
    if (l != NULL) {
        *l = (struct listener){ callback, data, .told = isan__log_findings(), .used = 1 };
    }
    isan__unlock(&lock);
    if (l == NULL) {
        return -1;
    }
    /* No signal handler of the program's runs there. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&l->thread, NULL, listen, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        l->used = 0;
        return -1;
    }
    return 0;
}

int
(isan_off_finding)(isan_callback *callback, void *data)
{
    struct listener *l = NULL;
    isan__lock(&lock);
    for (int i = 0; i < MAX_LISTENERS && l == NULL; i++) {
        if (listeners[i].used && !listeners[i].over && listeners[i].callback == callback
            && listeners[i].data == data) {
            l = &listeners[i];
            l->detached = pthread_equal(pthread_self(), l->thread) != 0;
            __atomic_store_n(&l->over, 1, __ATOMIC_SEQ_CST);
        }
    }
    isan__unlock(&lock);
    if (l == NULL) {
        return -1;
    }
    if (l->detached) {
        pthread_detach(l->thread);
        return 0;
    }
    isan__callbacks_wake();
    pthread_join(l->thread, NULL);
    __atomic_store_n(&l->used, 0, __ATOMIC_RELEASE);
    return 0;
}

/* In the child, where the threads are not. */
void
isan__callbacks_forked(int unused)
{
    (void)unused;
    memset(listeners, 0, sizeof listeners);
    waiting = 0;
}
