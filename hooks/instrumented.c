/* The functions that the checks and edits of an instrumented Python call
 * (include/isan/refcount.h, scripts/cpython/anchors.txt).  On a stock Python the wrappers
 * of boundary.c and reftrace.c call them. */
#include "hooks/instrumented.h"

#include "runtime/core/attach.h"
#include "runtime/core/origin.h"
#include "runtime/detect/foreign_use.h"
#include "runtime/detect/race_tsan.h"

/* ISAN_SCOPE.  Returns the scope before; 0: the interpreter has no scopes. */
static int
enter_scope(int scope)
{
    struct isan__thread *self = &isan__self;
    if (!isan__interp_of(self->slot)->shares_main) {
        return 0;
    }
    int before = self->scope ? self->scope : ISAN__NORMAL;
    self->scope = (uint8_t)scope;
    isan__thread_update_slots();
    return before;
}

static void
leave_scope(int before)
{
    isan__self.scope = (uint8_t)before;
    isan__thread_update_slots();
}

static void
check_incref(const void *op)
{
    isan__check_foreign_use(ISAN__KIND_share, ISAN__ACCESS_incref, op, __builtin_return_address(0));
}

static void
check_attribute(const void *op)
{
    isan__check_foreign_use(ISAN__KIND_share, ISAN__ACCESS_attribute, op, __builtin_return_address(0));
}

/* Called before the count goes down.  isan keeps the last reference: here, tp_dealloc would put the
 * memory into the free lists of this interpreter.  The owner has to deallocate the object. */
static void
check_decref(void *op)
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

/* Called by _Py_Dealloc, for counts that fell to 0 without a check. */
static int
check_dealloc(void *op)
{
    if (!isan__check_foreign_use(ISAN__KIND_free, ISAN__ACCESS_dealloc, op, __builtin_return_address(0))) {
        return 0;
    }
    *(uint32_t *)op = 1;
    return 1;
}

/* Called by new_reference (Objects/object.c).  An object from a free list is a new object in an old
 * block, which may have belonged to another interpreter: raw memory is the process's, and
 * interpreters that share an allocator may share free lists.  On a stock Python CPython itself
 * has such lists. */
static void
mark_created(void *op)
{
    char *block = isan__block_of(op);
    uint32_t tag = block != NULL ? isan__load_tag(block) : 0;
    if (block == NULL) {
        return;
    }
    if ((isan__slot_t)tag != isan__slot) {
        isan__sync_thread_state(false);
        if (isan__slot == 0 || tag & ISAN__FREED
            || !(isan__stock || tag & ISAN__RAW || isan__share_obmalloc((isan__slot_t)tag, isan__slot))) {
            return;
        }
        isan__retag(block, isan__slot);
    }
    isan__set_origin(block, isan__current_origin());
    *isan__tag_word(op) |= ISAN__OBJECT;
}

/* ISAN_WITHIN */
static unsigned int
serial_of_interp(const void *interp)
{
    isan__slot_t slot = isan__self.slot;
    if (isan__interp_of(slot)->interp != interp) {
        slot = isan__slot_of_interp(interp);
    }
    return isan__interp_of(slot)->serial;
}

const struct isan__hooks isan__hook_table = {
    .incref = check_incref, .decref = check_decref, .attribute = check_attribute,
    .create = mark_created, .dealloc = check_dealloc,
    .attach = isan__attach, .detach = isan__detach, .finalize = isan__finalize,
    .enter = enter_scope, .leave = leave_scope, .serial = serial_of_interp, .race = isan__race_tsan_report,
};
