/* What the checks and edits of an instrumented Python call (include/isan/
 * refcount.h and anchors.txt); on a stock Python stock.c and boundary.c do. */
#include <string.h>

#include "runtime/owner.h"

static const uint32_t no_news;
__thread struct isan__thread isan__self = { .ends = &no_news };

/* What this thread's checks compare with, from where it is. */
static void
set_slots(struct isan__thread *self)
{
    isan__slot_t slot = self->tstate == NULL ? 0
        : self->scope == ISAN__FOR_MAIN ? isan__main_slot : self->slot;
    self->free_slot = slot == 0 || self->finalizing || isan__scan_requested ? ISAN__NO_INTERP : slot;
    self->fast_origin = self->tstate != NULL && self->scope != ISAN__INIT && !isan__py.has_cframe
        && isan__options.origin == ISAN__ORIGIN_python;
    isan__slot = slot;
}

void
isan__thread_update_slots(void)
{
    set_slots(&isan__self);
}

/* A thread state becomes current (Python/pystate.c, current_fast_set). */
static void
attach(void *tstate)
{
    const void *interp;
    memcpy(&interp, (char *)tstate + isan__py.ts_interp, sizeof interp);
    struct isan__thread *self = &isan__self;
    if (tstate != self->detached) {
        isan__gilstate_attached(tstate);
    }
    if (tstate != self->detached && self->detached != NULL) {
        /* Not the one this thread last had: back to an outer one, or into
         * one more interpreter from the last. */
        int i = self->depth;
        while (i > 0 && self->suspended_tstates[i - 1] != tstate) {
            i--;
        }
        if (i > 0) {
            self->depth = (uint8_t)(i - 1);
        }
        else if (self->depth < ISAN__NESTED) {
            self->suspended_tstates[self->depth++] = self->detached;
        }
        /* Whoever makes an interpreter goes back when it is made
         * (Python/pylifecycle.c, new_interpreter); the main one has been made
         * before there is another. */
        struct isan__interp *left = isan__interp_of(self->slot);
        if (i > 0 || left->kind == ISAN_INTERP_MAIN) {
            left->running = 1;
        }
    }
    self->tstate = self->detached = tstate;
    isan__slot_t slot = self->slot;
    if (ISAN__UNLIKELY(slot == 0 || isan__interp_of(slot)->interp != interp)) {
        slot = isan__register_interp(interp);
        self->slot = slot;
        isan__thread_note_interp(isan__interp_of(slot)->serial);
        if (isan__tsan) {
            isan__race_tsan_thread_runs(isan__interp_of(slot)->serial);
        }
    }
    const struct isan__interp *i = isan__interp_of(slot);
    self->ends = i->finalizing || slot == 0 ? &no_news : i->ends;
    self->epoch = slot == 0 ? ~isan__epoch : isan__epoch;   /* 0: look again */
    self->finalizing = i->finalizing;
    self->running = i->running;
    if (ISAN__UNLIKELY(i->finalizing && i->kind == ISAN_INTERP_MAIN)) {
        if (isan__alloc_lost()) {
            isan__main_end(slot);
            self->slot = isan__register_interp(interp);
            self->epoch = ~isan__epoch;
        }
        self->finalizing = 0;               /* nobody is left to miss what it frees */
    }
    set_slots(self);
}

static void
detach(void)
{
    isan__self.tstate = NULL;
    isan__self.ends = &no_news;
    set_slots(&isan__self);
}

/* Python/pylifecycle.c, finalize_modules: the interpreter's modules go. */
static void
finalize(void *tstate)
{
    (void)tstate;
    if (isan__stock) {
        isan__reftrace_install();              /* or its marks are not to be relied on */
    }
    isan__interp_finalize(isan__self.slot);
    isan__self.ends = &no_news;
    if (isan__interp_of(isan__self.slot)->kind != ISAN_INTERP_MAIN) {
        isan__self.finalizing = 1;
        set_slots(&isan__self);
    }
}

/* ISAN_SCOPE: the scope before and the new one, or 0 where there are none. */
static int
enter(int scope)
{
    struct isan__thread *self = &isan__self;
    if (!isan__interp_of(self->slot)->shares_main) {
        return 0;
    }
    int before = self->scope ? self->scope : ISAN__NORMAL;
    self->scope = (uint8_t)scope;
    set_slots(self);
    return before;
}

static void
leave(int before)
{
    isan__self.scope = (uint8_t)before;
    set_slots(&isan__self);
}

static void
incref(const void *op)
{
    isan__check_foreign_use(ISAN__KIND_share, ISAN__ACCESS_incref, op, __builtin_return_address(0));
}

static void
attribute(const void *op)
{
    isan__check_foreign_use(ISAN__KIND_share, ISAN__ACCESS_attribute, op, __builtin_return_address(0));
}

/* Before the count goes down.  The last reference is not given up here: the
 * object is another interpreter's to deallocate, and running its tp_dealloc
 * here would put its memory into this interpreter's free lists. */
static void
decref(void *op)
{
    uint32_t *count = op;                   /* the low half of ob_refcnt */
    if (*count == 1) {
        if (isan__check_foreign_use(ISAN__KIND_free, ISAN__ACCESS_dealloc, op, __builtin_return_address(0))) {
            *count = 2;
        }
    }
    else {
        isan__check_foreign_use(ISAN__KIND_share, ISAN__ACCESS_decref, op, __builtin_return_address(0));
    }
}

/* _Py_Dealloc, for counts that fell to 0 unchecked. */
static int
dealloc(void *op)
{
    if (!isan__check_foreign_use(ISAN__KIND_free, ISAN__ACCESS_dealloc, op, __builtin_return_address(0))) {
        return 0;
    }
    *(uint32_t *)op = 1;
    return 1;
}

/* new_reference: an object from a free list is a new one in an old block.  On
 * a stock Python the one before may have been another interpreter's. */
static void
create(void *op)
{
    char *block = isan__block_of(op);
    if (block == NULL) {
        return;
    }
    if ((isan__load_tag(op) & 0xffff) != isan__slot) {
        isan__sync_thread_state(false);
        if (!isan__stock || isan__slot == 0) {
            return;
        }
        isan__retag(block, isan__slot);
    }
    isan__set_origin(block, isan__current_origin());
    *isan__tag_word(op) |= ISAN__OBJECT;
}

/* ISAN_WITHIN */
static unsigned int
serial(const void *interp)
{
    isan__slot_t slot = isan__self.slot;
    if (isan__interp_of(slot)->interp != interp) {
        slot = isan__slot_of_interp(interp);
    }
    return isan__interp_of(slot)->serial;
}

const struct isan__hooks isan__hook_table = {
    .incref = incref, .decref = decref, .attribute = attribute,
    .create = create, .dealloc = dealloc,
    .attach = attach, .detach = detach, .finalize = finalize,
    .enter = enter, .leave = leave, .serial = serial, .race = isan__race_tsan_report,
};
