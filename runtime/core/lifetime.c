/* Interpreters begin and end: see lifetime.h. */
#include "runtime/core/lifetime.h"

#include "runtime/base/check.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/origin.h"
#include "runtime/core/quarantine.h"
#include "runtime/core/transfer.h"

isan__slot_t
isan__register_interp(const void *interp)
{
    isan__slot_t slot = isan__slot_of_interp(interp);
    if (slot != 0 || interp == NULL) {
        return slot;
    }
    slot = isan__interp_take_slot(interp);
    if (slot == 0) {
        return 0;
    }
    const struct isan__interp *i = isan__interp_of(slot);
    ISAN__TRACE(1, "interpreter %lld begins (slot %u)", (long long)i->id, slot);
    isan__publish_interp_begins(slot);
    isan__interp_record(i, ISAN_INTERP_BEGIN, i->kind == ISAN_INTERP_MAIN ? 0 : isan__record_stack(NULL));
    /* Python/pystate.c, free_interpreter: freeing this block is the end. */
    char *block = isan__block_of(interp);
    if (block != NULL) {
        isan__note_block(block, ISAN__NOTE_INTERP, slot);
    }
    return slot;
}

void
isan__interp_finalize(isan__slot_t slot)
{
    struct isan__interp *i = isan__interp_of(slot);
    if (i->serial != 0 && !i->finalizing) {
        isan__publish_interp_about_to_finalize(slot);
        i->finalizing = 1;
        i->end_stack = isan__record_stack(NULL);
        isan__interp_record(i, ISAN_INTERP_FINALIZING, i->end_stack);
        isan__publish_interp_finalizes(slot);
    }
}

void
isan__interp_end(isan__slot_t slot)
{
    struct isan__interp *i = isan__interp_of(slot);
    struct isan__interp_end end = { .slot = slot };
    isan__interp_forget(i);
    __atomic_add_fetch(&isan__epoch, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&i->ended, 1, __ATOMIC_SEQ_CST);
    isan__interp_record(i, ISAN_INTERP_END, i->end_stack);
    isan__transfers_end_of(slot);
    isan__publish_interp_ends(&end);
    ISAN__TRACE(1, "interpreter %lld has ended and left %u blocks", (long long)i->id, end.left);
    if (isan__quarantine_holds(i->serial) == 0) {
        isan__publish_interp_unused(i->serial);
    }
    isan__interp_counted(slot, end.left);
}

/* The main interpreter is part of _PyRuntime: its memory is not freed, and the next Py_Initialize
 * uses it again.  So isan sees its end only at the next Py_Initialize or at the end of the
 * process. */
void
isan__main_end(isan__slot_t slot)
{
    struct isan__interp *i = isan__interp_of(slot);
    isan__interp_forget(i);
    __atomic_add_fetch(&isan__epoch, 1, __ATOMIC_RELAXED);
    i->ended = 1;
    isan__interp_record(i, ISAN_INTERP_END, i->end_stack);
    isan__publish_interp_ends(&(struct isan__interp_end){ .slot = slot, .main = true });
}
