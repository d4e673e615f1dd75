/* Interpreters and their slots.
 *
 * A tag holds a slot, never a pointer or an id, since those are reused.  An
 * interpreter takes a slot when it first runs.  It gives the slot back when no block
 * carries its tag any more.
 *
 * When all slots are taken, one walk retags the blocks that ended interpreters left.
 * They get one of two slots for all of them.  After that isan only knows that their
 * owner has ended, and whether it shared the main interpreter's obmalloc.
 */
#include "runtime/core/interp.h"

#include "runtime/base/check.h"
#include "runtime/base/table.h"
#include "runtime/core/shadow.h"
#include "runtime/cpython/layout.h"

static struct isan__interp *slots;          /* slots[0] is unused */
static size_t n_slots;                      /* slots[n_slots] and the next are for retagged blocks */
static struct isan__lock lock = { .rank = ISAN__RANK_INTERPS };
static isan__slot_t last, highest;          /* slots are taken in a circle */
static uint32_t next_serial = 1;
static int retagging;                       /* a thread is in expire() */
/* PyInterpreterState* -> slot.  An entry must not be lost: without it each attach would
 * register the interpreter once more. */
static struct isan__table by_interp = ISAN__TABLE;
static const void *main_interp;
isan__slot_t isan__main_slot;
bool isan__reftrace_active;

void
isan__interps_init(void)
{
    n_slots = (size_t)isan__options.slots;
    slots = isan__map((n_slots + 2) * sizeof *slots);
    if (slots == NULL) {
        isan__die("no memory for %zu interpreters; raise the limit (ulimit -v)", n_slots);
    }
}

struct isan__interp *
isan__interp_of(isan__slot_t slot)
{
    return &slots[slot <= n_slots + 1 ? slot : 0];
}

bool
isan__memory_is_stable(isan__slot_t slot)
{
    return slot == isan__slot || isan__interp_of(slot)->ended;
}

bool
isan__share_obmalloc(isan__slot_t a, isan__slot_t b)
{
    return isan__interp_of(a)->shares_main && isan__interp_of(b)->shares_main;
}

/* An interpreter without a GIL of its own uses the main interpreter's (Python/pylifecycle.c,
 * init_interp_create_gil). */
bool
isan__share_gil(isan__slot_t a, isan__slot_t b)
{
    return a == b || (isan__interp_of(a)->kind != ISAN_INTERP_OWN_GIL
                      && isan__interp_of(b)->kind != ISAN_INTERP_OWN_GIL);
}

/* An interpreter with a GIL of its own may share the main one's obmalloc.  PyInterpreterConfig
 * (Include/cpython/pylifecycle.h) begins with use_main_obmalloc.  3.12 has the flag
 * Py_RTFLAGS_USE_MAIN_OBMALLOC (Include/internal/pycore_interp.h).  In 3.11 all share it. */
static bool
uses_main_obmalloc(const void *interp)
{
    int (*config_of)(int *, const void *) = (int (*)(int *, const void *))
        isan__python_symbol("_PyInterpreterConfig_InitFromState");
    int (*has_feature)(const void *, unsigned long) = (int (*)(const void *, unsigned long))
        isan__python_symbol("_PyInterpreterState_HasFeature");
    if (config_of != NULL) {
        int config[16] = { 0 };
        return config_of(config, interp) == 0 && config[0] != 0;
    }
    return has_feature == NULL || has_feature(interp, 1ul << 5);
}

static const void *
gil_of(const void *interp)
{
    const void *gil = NULL;
    if (isan__py.has_own_gils) {
        memcpy(&gil, (const char *)interp + isan__py.interp_gil, sizeof gil);
    }
    return gil;
}

void
isan__interp_record(const struct isan__interp *interp, int event, uint32_t stack)
{
    struct isan_rec_interp *r = isan__log_reserve(sizeof *r);
    if (r != NULL) {
        r->serial = interp->serial;
        r->event = (uint16_t)event;
        r->kind = interp->kind;
        r->id = interp->id;
        r->time_ns = isan__now();
        r->tid = isan__tid();
        r->stack = stack;
        isan__log_publish(r, ISAN_REC_INTERP);
    }
}

void
isan__retag(char *block, isan__slot_t to)
{
    uint32_t *w = isan__tag_word(block);
    isan__slot_t from = (isan__slot_t)w[0];
    int n = w[0] & ISAN__LONG ? 3 : 2;
    for (int i = 0; i < n; i++) {
        /* Another thread may be freeing it now: then it keeps its owner. */
        uint32_t is = w[i], becomes = (is & 0xffff0000u) | to;
        if ((is & 0xffff) != from
            || !__atomic_compare_exchange_n(&w[i], &is, becomes, false,
                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            return;
        }
    }
    if (from < n_slots && to < n_slots) {
        isan__interp_block_freed(from);
    }
}

static void
retag_ended(char *block, void *arg)
{
    isan__slot_t from = (isan__slot_t)isan__load_tag(block);
    (void)arg;
    if (from < n_slots && isan__interp_of(from)->counted) {
        isan__retag(block, (isan__slot_t)(n_slots + isan__interp_of(from)->shares_main));
    }
}

static void
make_expired(void)
{
    for (int shares = 0; shares < 2; shares++) {
        struct isan__interp *expired = &slots[n_slots + (size_t)shares];
        if (expired->serial == 0) {
            expired->serial = next_serial++;
            expired->id = -1;
            expired->ended = 1;
            expired->shares_main = (uint8_t)shares;
            expired->kind = shares ? ISAN_INTERP_LEGACY : ISAN_INTERP_OWN_GIL;
            isan__interp_record(expired, ISAN_INTERP_BEGIN, 0);
            isan__interp_record(expired, ISAN_INTERP_END, 0);
        }
    }
}

/* Frees the slots of all interpreters that have ended.  This walks the whole shadow, so it holds no
 * lock.  False: another thread does it now. */
static bool
expire(void)
{
    if (__atomic_exchange_n(&retagging, 1, __ATOMIC_ACQUIRE)) {
        return false;
    }
    make_expired();
    bool retagged = isan__visit_blocks(0, retag_ended, NULL);
    isan__lock(&lock);
    for (size_t i = 1; retagged && i < n_slots; i++) {
        if (slots[i].counted) {
            memset(&slots[i], 0, sizeof slots[i]);
        }
    }
    isan__unlock(&lock);
    __atomic_store_n(&retagging, 0, __ATOMIC_RELEASE);
    return retagged;
}

/* A free slot, with the lock held; 0: there is none. */
static isan__slot_t
find_free_slot(void)
{
    for (size_t i = 1; i < n_slots; i++) {
        isan__slot_t slot = (isan__slot_t)((last + i - 1) % (n_slots - 1) + 1);
        if (slots[slot].serial == 0) {
            last = slot;
            highest = slot > highest ? slot : highest;
            return slot;
        }
    }
    return 0;
}

static void
describe_interp(struct isan__interp *i, const void *interp)
{
    memset(i, 0, sizeof *i);
    i->interp = (void *)interp;
    i->ends = (const void *)((const char *)interp + isan__py.interp_finalizing);
    i->serial = next_serial++;
    i->marked = isan__reftrace_active;
    memcpy(&i->id, (const char *)interp + isan__py.interp_id, sizeof i->id);
    /* Include/internal/pycore_runtime.h: the main interpreter is part of _PyRuntime. */
    if ((uintptr_t)interp - (uintptr_t)isan__py.runtime < isan__py.runtime_size) {
        i->kind = ISAN_INTERP_MAIN;
        if (isan__py.runtime_finalizing != 0) {
            i->ends = (const void *)(isan__py.runtime + isan__py.runtime_finalizing);
        }
        i->shares_main = 1;
        main_interp = interp;
    }
    else {
        i->kind = gil_of(interp) == gil_of(main_interp) ? ISAN_INTERP_LEGACY : ISAN_INTERP_OWN_GIL;
        i->shares_main = uses_main_obmalloc(interp);
    }
}

static isan__slot_t
take_slot(const void *interp)
{
    isan__lock(&lock);
    isan__slot_t slot = find_free_slot();
    if (slot != 0) {
        describe_interp(&slots[slot], interp);
        if (!isan__table_put(&by_interp, (uint64_t)interp, slot)) {
            slots[slot].serial = 0;
            slot = 0;
        }
        else if (slots[slot].kind == ISAN_INTERP_MAIN) {
            isan__main_slot = slot;
        }
    }
    isan__unlock(&lock);
    return slot;
}

isan__slot_t
isan__interp_take_slot(const void *interp)
{
    if (isan__py.has_own_gils && gil_of(interp) == NULL) {
        return 0;                           /* its settings and GIL come next (3.12, new_interpreter) */
    }
    isan__slot_t slot = take_slot(interp);
    if (slot == 0) {
        if (!expire()) {
            return 0;                       /* the next attach tries again */
        }
        slot = take_slot(interp);
    }
    static bool said;
    if (slot == 0 && !said) {
        said = true;
        isan__say("more than %zu interpreters at once: the others are not checked "
                  "(ISAN_OPTIONS=slots=...)", n_slots - 1);
    }
    return slot;
}

void
isan__interp_forget(struct isan__interp *i)
{
    isan__table_take(&by_interp, (uint64_t)i->interp);
    i->interp = NULL;
}

static void
release(isan__slot_t slot)
{
    isan__lock(&lock);
    struct isan__interp *i = isan__interp_of(slot);
    if (i->counted && i->left == 0) {
        memset(i, 0, sizeof *i);
    }
    isan__unlock(&lock);
}

void
isan__interp_counted(isan__slot_t slot, uint32_t left)
{
    struct isan__interp *i = isan__interp_of(slot);
    ISAN__ASSERT(i->ended);
    /* A block that is freed before `counted` is set stays in the sum.  So the slot may be kept
     * longer than needed, but is never freed too early. */
    __atomic_store_n(&i->left, left, __ATOMIC_RELAXED);
    __atomic_store_n(&i->counted, 1, __ATOMIC_RELEASE);
    if (left == 0) {
        release(slot);
    }
}

isan__slot_t
isan__slot_of_interp(const void *interp)
{
    return interp ? (isan__slot_t)isan__table_get(&by_interp, (uint64_t)interp) : 0;
}

isan__slot_t
isan__next_live_slot(isan__slot_t slot)
{
    while (slot++ < highest) {
        if (slots[slot].serial != 0 && !slots[slot].ended) {
            return slot;
        }
    }
    return 0;
}

void
isan__interps_clear_marked(void)
{
    isan__lock(&lock);
    for (size_t slot = 1; slot <= highest; slot++) {
        slots[slot].marked = 0;
    }
    isan__unlock(&lock);
}

void
isan__interp_block_freed(isan__slot_t slot)
{
    struct isan__interp *i = isan__interp_of(slot);
    if (__atomic_load_n(&i->counted, __ATOMIC_ACQUIRE)
        && __atomic_sub_fetch(&i->left, 1, __ATOMIC_RELAXED) == 0) {
        release(slot);
    }
}
