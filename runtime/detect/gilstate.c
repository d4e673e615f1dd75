/* Threads and thread states: PyGILState_Ensure in a thread of another
 * interpreter's, thread states of other threads and of interpreters that have
 * ended, the C API without any, interpreters that end with threads in them.
 *
 * What is looked at are the calls of extensions, and of the libraries and
 * programs around them, before they are made: most of these bugs end in a crash
 * or a deadlock (hooks/boundary.c; hooks/api.inc has the functions).
 */
#define _GNU_SOURCE
#include "runtime/detect/gilstate.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include "runtime/base/table.h"
#include "runtime/core/attach.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/finding.h"
#include "runtime/core/origin.h"
#include "runtime/core/thread_registry.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/modules.h"

/* Thread state -> where PyThreadState_New returned to: those that are there, and
 * the last at an address to be freed. */
static struct isan__table made = ISAN__TABLE, was_made = ISAN__TABLE;
/* One that was freed -> serial of its interpreter << 32 | tid of its thread. */
static struct isan__table gone = ISAN__TABLE;
/* The first thread state of an interpreter is part of the interpreter, and in use
 * again after it was deleted (Python/pystate.c, new_threadstate), with another id
 * -> that << 32 | tid of who first attached it.  Others are watched (watch.c). */
static struct isan__table within_interp = ISAN__TABLE;
/* The memory of interpreters that have ended, the last ones. */
enum { ENDED = 64 };
static struct { const char *start, *end; uint32_t serial; } ended[ENDED];
static uint32_t n_ended;
static struct isan__table harmless = ISAN__TABLE;   /* hash of a call of PyGILState_Ensure -> 1 */

static const char *
interp_of_state(const char *tstate)
{
    const char *interp = NULL;
    isan__peek(&interp, tstate + isan__py.ts_interp, sizeof interp);
    return interp;
}

static uint32_t
main_serial(void)
{
    return isan__interp_of(isan__main_slot)->serial;
}

/* The serial of the one that this thread is in. */
static uint32_t
inside(void)
{
    return isan__self.tstate != NULL ? isan__interp_of(isan__self.slot)->serial : 0;
}

/* --- the lives of thread states ---------------------------------------------------- */

void
isan__gilstate_attached(char *tstate)
{
    uint32_t word = isan__load_tag(tstate);
    if (word & ISAN__START) {
        if (!(word & ISAN__NOTED)) {
            isan__note_block(tstate, ISAN__NOTE_TSTATE, isan__tid());
        }
        return;
    }
    uint64_t id = isan__py.state_id(tstate), now = isan__table_get(&within_interp, (uint64_t)tstate);
    if (now == 0 || now >> 32 != (uint32_t)id) {
        isan__table_put_or_drop(&within_interp, (uint64_t)tstate, id << 32 | isan__tid());
    }
}

void
isan__gilstate_created(const char *tstate, void *pc)
{
    if (tstate != NULL) {
        isan__table_put_or_drop(&made, (uint64_t)tstate, (uint64_t)pc);
    }
}

static void
interp_freed(const char *interp, isan__slot_t slot)
{
    uint32_t i = __atomic_fetch_add(&n_ended, 1, __ATOMIC_RELAXED) % ENDED;
    ended[i].serial = 0;
    ended[i].start = interp;
    ended[i].end = interp + isan__block_size(interp);
    ended[i].serial = isan__interp_of(slot)->serial;
}

/* The interpreter that the thread state is part of; 0: none that lives. */
static isan__slot_t
part_of(const char *tstate)
{
    if ((uintptr_t)tstate - (uintptr_t)isan__py.runtime < isan__py.runtime_size) {
        return isan__main_slot;
    }
    for (isan__slot_t slot = 0; (slot = isan__next_live_slot(slot)) != 0;) {
        const char *interp = isan__interp_of(slot)->interp;
        if (interp != NULL && isan__load_tag(interp) & ISAN__START
            && (size_t)(tstate - interp) < isan__block_size(interp)) {
            return slot;
        }
    }
    return 0;
}

/* The serial of the interpreter that a thread state was of which is there no
 * more; 0: that is not known. */
static uint32_t
formerly_of(const char *tstate)
{
    uint32_t serial = (uint32_t)(isan__table_get(&gone, (uint64_t)tstate) >> 32);
    for (int i = 0; i < ENDED && serial == 0; i++) {
        if (tstate >= ended[i].start && tstate < ended[i].end) {
            serial = ended[i].serial;
        }
    }
    return serial;
}

/* --- rules and findings ---------------------------------------------------------------- */

struct call {
    const char *function;
    void *pc;                               /* where its caller goes on */
    uintptr_t base;                         /* of the module that it is in */
    bool own;                               /* the standard library's */
};

static bool
note_caller(const struct isan__module *module, void *arg)
{
    struct call *call = arg;
    call->base = module->base;
    call->own = module->of_stdlib;
    return true;
}

static struct call
call_of(const char *function, void *pc)
{
    struct call call = { function, pc, 0, false };
    isan__visit_module_at((uint64_t)pc, note_caller, &call);
    return call;
}

/* user: tid of whose the thread state is; of: serial of its interpreter, or of the
 * last but the main one that has imported the module. */
static bool
excused(int access, const struct call *call, uint32_t user, uint32_t of, bool by_main)
{
    const char *function = call->function;
    bool own = call->own;
#define ISAN_STATE_RULE(name, reason, condition) if (condition) return true;
#include "runtime/detect/rules.inc"
    return false;
}

/* Report a call, in one of the ways that kinds.inc has an ISAN_STATE for.  object: serial, if
 * one shows it; stack 0: this thread's, now.  Returns the finding, to which places are to be
 * added, or 0: it is known. */
static uint32_t
report(int access, const char *function, void *pc, uint32_t owner, uint32_t current, uint32_t object,
       uint32_t stack)
{
    struct { uint64_t pc, access, function; } call = {
        (uint64_t)pc, (uint64_t)access, isan__hash(function, strlen(function), ISAN__KEY_HASH),
    };
    uint64_t key = isan__table_key(ISAN__KEY_GILSTATE, &call, sizeof call);
    if (isan__ignores()) {
        return 0;
    }
    struct isan_rec_finding *r = isan__finding_known(key);
    if (r != NULL) {
        isan__finding_again(r, NULL);
        return 0;
    }
    r = isan__finding_make(&(struct isan__finding){
        .kind = ISAN__KIND_gilstate, .access = access, .key = key, .type = function, .current = current,
        .stack = stack, .object = { .owner = owner, .serial = object },
    });
    return r ? r->id : 0;
}

static void
place(uint32_t finding, int role, uint32_t serial, uint32_t tid, uint32_t stack, const char *text)
{
    isan__finding_add_place(&(struct isan_rec_place){
        .finding = finding, .role = (uint16_t)role, .interp = serial, .tid = tid, .stack = stack,
    }, text);
}

static void
told(uint32_t finding)
{
    if (finding != 0) {
        isan__publish_finding_made(finding);
    }
}

static void
place_made(uint32_t finding, struct isan__table *where, const char *tstate, uint32_t serial)
{
    void *pc = (void *)isan__table_get(where, (uint64_t)tstate);
    if (pc != NULL) {
        place(finding, ISAN__PLACE_made, serial, 0, isan__record_return_address(pc), "");
    }
}

/* --- a thread state that is about to be attached ------------------------------------------- */

static void
of_another_thread(const char *tstate, uint32_t user, isan__slot_t slot, const char *function, void *pc)
{
    unsigned long thread;
    memcpy(&thread, tstate + isan__py.ts_thread, sizeof thread);
    if (user == 0 || user == isan__tid() || thread == (unsigned long)pthread_self()) {
        return;                             /* 0: made by another thread for this one */
    }
    const struct call call = call_of(function, pc);
    uint32_t serial = isan__interp_of(slot)->serial, maker;
    if (excused(ISAN__ACCESS_thread, &call, user, serial, false)) {
        return;
    }
    uint32_t id = report(ISAN__ACCESS_thread, function, pc, serial, inside(), 0, 0);
    if (id != 0) {
        place_made(id, &made, tstate, serial);
        place(id, ISAN__PLACE_attached, serial, user, isan__thread_creator(user, &maker), "");
    }
    told(id);
}

void
isan__gilstate_check_attach(const char *tstate, const char *function, void *pc)
{
    uint32_t word = isan__load_tag(tstate), serial;
    isan__slot_t slot;
    if (word & ISAN__START && (slot = isan__slot_of_interp(interp_of_state(tstate))) != 0) {
        of_another_thread(tstate, isan__noted_thread(tstate), slot, function, pc);
    }
    else if (!(word & ISAN__START) && (slot = part_of(tstate)) != 0) {
        uint64_t first = isan__table_get(&within_interp, (uint64_t)tstate);
        of_another_thread(tstate, first >> 32 == (uint32_t)isan__py.state_id(tstate) ? (uint32_t)first : 0,
                          slot, function, pc);
    }
    else if ((serial = formerly_of(tstate)) != 0) {
        uint32_t id = report(ISAN__ACCESS_ended, function, pc, serial, inside(), 0, 0);
        uint32_t user = (uint32_t)isan__table_get(&gone, (uint64_t)tstate);
        if (id != 0) {
            place_made(id, &was_made, tstate, serial);
            if (user != 0 && user != isan__tid()) {
                uint32_t maker, at = isan__thread_creator(user, &maker);
                place(id, ISAN__PLACE_attached, serial, user, at, "");
            }
        }
        told(id);
    }
}

/* --- PyGILState_Ensure ------------------------------------------------------------------------ */

static void
misrouted(void *pc, uint32_t owner, uint32_t current, uint32_t importer, uint32_t object, uint32_t stack)
{
    const struct isan__thread *self = &isan__self;
    uint32_t id = report(ISAN__ACCESS_ensure, "PyGILState_Ensure", pc, owner, current, object, stack);
    if (id != 0 && self->creator_serial == owner) {
        place(id, ISAN__PLACE_registered, owner, self->creator_tid, self->creator_stack, "");
    }
    else if (id != 0 && importer != 0) {
        place(id, ISAN__PLACE_imported, importer, 0, 0, "");
    }
    told(id);
}

/* The thread has no thread state and gets one of the main interpreter. */
static void
ensure_new(void *pc)
{
    struct isan__thread *self = &isan__self;
    struct { uint64_t pc; uint32_t maker, imports; } key = { (uint64_t)pc, self->creator_serial, isan__n_imports };
    uint64_t hash = isan__table_key(ISAN__KEY_GILSTATE, &key, sizeof key);
    self->ensure_pc = pc;
    if (isan__table_get(&harmless, hash) != 0 || isan__interp_of(isan__main_slot)->finalizing) {
        return;
    }
    bool by_main;
    const struct call call = call_of("PyGILState_Ensure", pc);
    uint32_t importer = isan__importers_of(call.base, &by_main);
    if (excused(ISAN__ACCESS_ensure, &call, 0, importer, by_main)) {
        isan__table_put_or_drop(&harmless, hash, 1);
        return;
    }
    self->ensure_pc = NULL;
    misrouted(pc, self->creator_serial ? self->creator_serial : importer, main_serial(), importer, 0, 0);
}

/* Before 3.12 a thread keeps the first thread state it had for PyGILState_Ensure,
 * whatever interpreter it has entered since (_PyGILState_NoteThreadState): in the
 * latter's code that waits for the GIL it holds, or enters the other one.  One
 * that it has left runs no code any more. */
static void
ensure_first(const char *first, void *pc)
{
    const char *last = isan__self.detached;
    isan__slot_t at = isan__self.slot, to = isan__slot_of_interp(interp_of_state(first));
    bool lives = last != NULL && (isan__self.tstate == last || isan__noted_thread(last) != 0
                                  || (!(isan__load_tag(last) & ISAN__START) && part_of(last) != 0));
    if (lives && at != 0 && to != 0 && at != to && (isan__self.tstate == last || isan__tstate_runs_python(last))) {
        misrouted(pc, isan__interp_of(at)->serial, isan__interp_of(to)->serial, 0, 0, 0);
    }
}

void
isan__gilstate_check_ensure(void *pc)
{
    if (isan__main_slot == 0) {
        return;
    }
    isan__sync_thread_state(true);
    const char *state = isan__py.this_state();
    if (state == NULL) {
        ensure_new(pc);
        return;
    }
    if (isan__gilstate_may_be_foreign(state)) {
        isan__gilstate_check_attach(state, "PyGILState_Ensure", pc);
    }
    if (isan__py.one_gil) {
        ensure_first(state, pc);
    }
}

void
isan__gilstate_released(void)
{
    if (isan__self.ensure_pc != NULL && isan__py.this_state() == NULL) {
        isan__self.ensure_pc = NULL;
    }
}

void
isan__gilstate_foreign_object(uint32_t owner, uint32_t object)
{
    struct isan__thread *self = &isan__self;
    void *pc = self->ensure_pc;
    if (self->slot == isan__main_slot && owner != 0 && owner != main_serial()) {
        self->ensure_pc = NULL;
        misrouted(pc, owner, main_serial(), 0, object, isan__record_return_address(pc));
    }
}

/* --- without a thread state ---------------------------------------------------------------------- */

static void
report_unattached(const char *function, void *pc, uint32_t stack)
{
    const struct isan__thread *self = &isan__self;
    uint32_t serial = isan__interp_of(self->slot)->serial;
    uint32_t id = report(ISAN__ACCESS_detached, function, pc, serial ? serial : self->creator_serial, 0, 0, stack);
    if (id != 0 && serial != 0) {
        place(id, ISAN__PLACE_left, serial, isan__tid(), isan__record_return_address(self->detach_pc), "");
    }
    else if (id != 0 && self->creator_serial != 0) {
        place(id, ISAN__PLACE_registered, self->creator_serial, self->creator_tid, self->creator_stack, "");
    }
    told(id);
}

void
isan__gilstate_check_call(const char *function, void *pc)
{
    struct isan__thread *self = &isan__self;
    if (isan__main_slot == 0) {
        return;
    }
    isan__sync_thread_state(true);
    /* In one that has no slot, perhaps (interp.c). */
    if (self->tstate != NULL || (!isan__py.one_gil && isan__py.current() != NULL)) {
        return;
    }
    const struct call call = call_of(function, pc);
    if (excused(ISAN__ACCESS_detached, &call, 0, 0, false)) {
        return;
    }
    report_unattached(function, pc, 0);
}

/* The process crashed at that address, in the runtime: what it does first with a
 * thread state that is not there is to look for its interpreter. */
void
isan__gilstate_check_crash(uint64_t address, uint64_t pc, uint32_t stack)
{
    enum { LEAST_MAPPED = 65536 };
    const struct isan__thread *self = &isan__self;
    if (address < LEAST_MAPPED && isan__runtime_runs((void *)pc) && self->tstate == NULL
        && isan__main_slot != 0 && isan__py.current() == NULL) {
        report_unattached("the C API", (void *)pc, stack);
    }
}

/* --- Py_EndInterpreter ------------------------------------------------------------------------------ */

/* The thread states of other threads in the interpreter that this thread ends. */
enum { OTHERS = 32 };
static __thread struct { const char *tstate; uint32_t tid; bool taken; } others[OTHERS];
static __thread int n_others;

static void
find_others(const void *interp)
{
    n_others = 0;
    const char *s = isan__py.first_state(interp);
    /* Its GIL may be another's, whose threads end just now. */
    for (int most = 1000; s != NULL && most-- > 0;) {
        unsigned long tid;
        if (s != isan__self.tstate && n_others < OTHERS && isan__peek(&tid, s + isan__py.ts_native, sizeof tid)
            && tid != isan__tid()) {
            others[n_others].tstate = s;
            others[n_others].taken = false;
            others[n_others++].tid = (uint32_t)tid;
        }
        if (!isan__peek(&s, s + isan__py.ts_next, sizeof s)) {
            break;
        }
    }
}

static void
report_others(uint32_t stack)
{
    struct isan__thread *self = &isan__self;
    if (n_others == 0) {
        return;
    }
    uint32_t id = report(ISAN__ACCESS_end, "Py_EndInterpreter", self->ending_pc, self->ending,
                                   self->ending, 0, stack);
    for (int i = 0; i < n_others && id != 0; i++) {
        uint32_t maker, at = isan__thread_creator(others[i].tid, &maker);
        place(id, ISAN__PLACE_remains, self->ending, others[i].tid, at,
              isan__thread_lives(others[i].tid) ? "" : "which has ended without deleting its thread state");
        if (at == 0) {
            place_made(id, &made, others[i].tstate, self->ending);
        }
    }
    told(id);
}

/* From 3.14 on Py_EndInterpreter frees the thread states that it finds when the
 * threads that threading joins have ended, or leaves them to whoever still refers
 * to them (Python/pylifecycle.c; Python/pystate.c, decref_threadstate). */
static void
keep_remaining(void)
{
    int n = 0;
    for (int i = 0; i < n_others; i++) {
        /* It may be a leak by now, which this does not tell. */
        if (others[i].taken || isan__load_tag(others[i].tstate) & ISAN__NOTED) {
            others[n++] = others[i];
        }
    }
    n_others = n;
}

void
isan__gilstate_end_interp(const void *interp, void *pc)
{
    struct isan__thread *self = &isan__self;
    if (interp != NULL) {
        isan__sync_thread_state(true);
        self->ending = isan__interp_of(isan__slot_of_interp(interp))->serial;
        self->ending_pc = pc;
        find_others(interp);
    }
    else if (self->ending != 0) {
        keep_remaining();
        if (isan__py.hexversion >= 0x030e0000) {
            report_others(0);
        }
        self->ending = 0;
    }
}

/* What the atexit callbacks of an interpreter that ends delete it does not find. */
void
isan__gilstate_deleted(const char *tstate)
{
    for (int i = 0; isan__self.ending != 0 && i < n_others; i++) {
        if (others[i].tstate == tstate) {
            others[i--] = others[--n_others];
        }
    }
}

/* Before 3.14 it ends the process (Py_FatalError) where there are any, which is
 * the only thing in it that does and runs no Python code. */
void
isan__gilstate_end_aborted(uint32_t stack)
{
    const void *interp;
    if (isan__self.ending != 0 && isan__self.tstate != NULL && !isan__in_python_frame()
        && (interp = interp_of_state(isan__self.tstate)) != NULL) {
        find_others(interp);
        report_others(stack);
    }
}

/* What this thread has deleted it does not go back to, and the next at its address
 * is another's, perhaps. */
static void
forget_state(const char *tstate)
{
    struct isan__thread *self = &isan__self;
    if (self->detached == tstate) {
        self->detached = NULL;
    }
    int n = 0;
    for (int i = 0; i < self->depth; i++) {
        if (self->suspended_tstates[i] != tstate) {
            self->suspended_tstates[n++] = self->suspended_tstates[i];
        }
    }
    self->depth = (uint8_t)n;
}

static void
state_freed(const char *tstate, uint32_t tid)
{
    forget_state(tstate);
    uint32_t serial = isan__interp_of(isan__slot_of_interp(interp_of_state(tstate)))->serial;
    uint64_t pc = isan__table_take(&made, (uint64_t)tstate);
    for (int i = 0; isan__self.ending != 0 && i < n_others; i++) {
        others[i].taken |= others[i].tstate == tstate;
    }
    if (serial != 0) {
        isan__table_put_or_drop(&gone, (uint64_t)tstate, (uint64_t)serial << 32 | tid);
        isan__table_take(&was_made, (uint64_t)tstate);
        if (pc != 0) {
            isan__table_put_or_drop(&was_made, (uint64_t)tstate, pc);
        }
    }
}

void
isan__gilstate_block_freed(const struct isan__noted_block *noted)
{
    if (noted->notes & ISAN__NOTE_TSTATE) {
        state_freed(noted->block, noted->notes & ISAN__NOTE_OBJECT ? 0 : noted->value);
    }
    if (noted->notes & ISAN__NOTE_INTERP) {
        interp_freed(noted->block, (isan__slot_t)noted->value);
    }
}
