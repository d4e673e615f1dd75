/* Finds wrong uses of thread states: PyGILState_Ensure() in a thread of another interpreter, thread
 * states of other threads or of interpreters that have ended, calls of the C API without a thread
 * state, interpreters that end with threads in them.
 *
 * Calls of extensions, libraries and programs are checked before they are made, since most of
 * these bugs end in a crash or a deadlock (hooks/boundary.c; hooks/api.inc has the functions).
 */
#define _GNU_SOURCE
#include "runtime/detect/gilstate.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include "runtime/core/attach.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/finding.h"
#include "runtime/core/origin.h"
#include "runtime/core/thread_registry.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/modules.h"

/* The tables by the address of a thread state follow.  A lost entry loses a place of a finding, or
 * a finding.
 *
 * -> the return address of PyThreadState_New(): of the states that exist, and of the last one freed
 * at an address. */
static struct isan__table creation = ISAN__TABLE, freed_creation = ISAN__TABLE;
/* A freed state -> serial of its interpreter << 32 | tid of its thread. */
static struct isan__table freed_states = ISAN__TABLE;
/* The first thread state of an interpreter is part of the interpreter's memory.  After it
 * was deleted it is used again, with another id (Python/pystate.c, new_threadstate).
 * -> id << 32 | tid of the thread that attached it first.  Other states have a note
 * (core/block_notes.h). */
static struct isan__table embedded_states = ISAN__TABLE;

/* The memory of the interpreters that have ended last. */
enum { MAX_ENDED = 64 };
static struct { const char *start, *end; uint32_t serial; } ended_interps[MAX_ENDED];
static uint32_t n_ended;

/* Key of a call of PyGILState_Ensure() that the rules excuse -> 1.  For a lost entry the
 * rules are asked again. */
static struct isan__table excused_ensures = ISAN__TABLE;

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

/* The serial of the interpreter that this thread is in; 0: none. */
static uint32_t
current_serial(void)
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
    uint64_t id = isan__py.state_id(tstate), now = isan__table_get(&embedded_states, (uint64_t)tstate);
    if (now == 0 || now >> 32 != (uint32_t)id) {
        isan__table_put_or_drop(&embedded_states, (uint64_t)tstate, id << 32 | isan__tid());
    }
}

void
isan__gilstate_created(const char *tstate, void *pc)
{
    if (tstate != NULL) {
        isan__table_put_or_drop(&creation, (uint64_t)tstate, (uint64_t)pc);
    }
}

static void
note_interp_freed(const char *interp, isan__slot_t slot)
{
    uint32_t i = __atomic_fetch_add(&n_ended, 1, __ATOMIC_RELAXED) % MAX_ENDED;
    ended_interps[i].serial = 0;
    ended_interps[i].start = interp;
    ended_interps[i].end = interp + isan__block_size(interp);
    ended_interps[i].serial = isan__interp_of(slot)->serial;
}

/* The living interpreter that has the thread state in its own memory; 0: none. */
static isan__slot_t
embedding_interp(const char *tstate)
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

/* The serial of the interpreter that a freed thread state belonged to; 0: unknown. */
static uint32_t
freed_state_interp(const char *tstate)
{
    uint32_t serial = (uint32_t)(isan__table_get(&freed_states, (uint64_t)tstate) >> 32);
    for (int i = 0; i < MAX_ENDED && serial == 0; i++) {
        if (tstate >= ended_interps[i].start && tstate < ended_interps[i].end) {
            serial = ended_interps[i].serial;
        }
    }
    return serial;
}

/* --- rules and findings ---------------------------------------------------------------- */

struct call {
    const char *function;
    void *pc;                               /* its return address */
    uintptr_t base;                         /* of the caller's module */
    bool own;                               /* that is a module of the standard library */
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
describe_call(const char *function, void *pc)
{
    struct call call = { function, pc, 0, false };
    isan__visit_module_at((uint64_t)pc, note_caller, &call);
    return call;
}

/* user: tid of the thread that uses the thread state.  of: serial of the state's interpreter; for
 * PyGILState_Ensure(), of the last sub-interpreter that has imported the module.  by_main: the main
 * interpreter has imported it, too. */
static bool
is_call_excused(int access, const struct call *call, uint32_t user, uint32_t of, bool by_main)
{
    const char *function = call->function;
    bool own = call->own;
#define ISAN_STATE_RULE(name, reason, condition) if (condition) return true;
#include "runtime/detect/rules.inc"
    return false;
}

/* Makes a finding of a call.  access: one with an ISAN_STATE in kinds.inc.  owner, current: serials
 * of interpreters.  object: serial of the object that proves it, or 0.  stack 0: this thread's,
 * now. Returns the finding's id, for add_place() and publish_call(); 0: it is known already, or
 * ignored. */
static uint32_t
report_call(int access, const char *function, void *pc, uint32_t owner, uint32_t current, uint32_t object,
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
add_place(uint32_t finding, int role, uint32_t serial, uint32_t tid, uint32_t stack, const char *text)
{
    isan__finding_add_place(&(struct isan_rec_place){
        .finding = finding, .role = (uint16_t)role, .interp = serial, .tid = tid, .stack = stack,
    }, text);
}

static void
publish_call(uint32_t finding)
{
    if (finding != 0) {
        isan__publish_finding_made(finding);
    }
}

/* The place where PyThreadState_New() was called, if that is known. */
static void
add_creation_place(uint32_t finding, struct isan__table *where, const char *tstate, uint32_t serial)
{
    void *pc = (void *)isan__table_get(where, (uint64_t)tstate);
    if (pc != NULL) {
        add_place(finding, ISAN__PLACE_made, serial, 0, isan__record_return_address(pc), "");
    }
}

/* --- a thread state that is about to be attached ------------------------------------------- */

/* Reports that this thread attaches a thread state that another thread uses.  user: tid of the
 * thread that attached it first; 0: no thread has, so it was created for this one. */
static void
check_user(const char *tstate, uint32_t user, isan__slot_t slot, const char *function, void *pc)
{
    unsigned long thread;
    memcpy(&thread, tstate + isan__py.ts_thread, sizeof thread);
    if (user == 0 || user == isan__tid() || thread == (unsigned long)pthread_self()) {
        return;
    }
    const struct call call = describe_call(function, pc);
    uint32_t serial = isan__interp_of(slot)->serial, creator;
    if (is_call_excused(ISAN__ACCESS_thread, &call, user, serial, false)) {
        return;
    }
    uint32_t id = report_call(ISAN__ACCESS_thread, function, pc, serial, current_serial(), 0, 0);
    if (id != 0) {
        add_creation_place(id, &creation, tstate, serial);
        add_place(id, ISAN__PLACE_attached, serial, user, isan__thread_creator(user, &creator), "");
    }
    publish_call(id);
}

void
isan__gilstate_check_attach(const char *tstate, const char *function, void *pc)
{
    uint32_t word = isan__load_tag(tstate), serial;
    isan__slot_t slot;
    if (word & ISAN__START && (slot = isan__slot_of_interp(interp_of_state(tstate))) != 0) {
        check_user(tstate, isan__noted_thread(tstate), slot, function, pc);
    }
    else if (!(word & ISAN__START) && (slot = embedding_interp(tstate)) != 0) {
        uint64_t first = isan__table_get(&embedded_states, (uint64_t)tstate);
        check_user(tstate, first >> 32 == (uint32_t)isan__py.state_id(tstate) ? (uint32_t)first : 0,
                   slot, function, pc);
    }
    else if ((serial = freed_state_interp(tstate)) != 0) {
        uint32_t id = report_call(ISAN__ACCESS_ended, function, pc, serial, current_serial(), 0, 0);
        uint32_t user = (uint32_t)isan__table_get(&freed_states, (uint64_t)tstate);
        if (id != 0) {
            add_creation_place(id, &freed_creation, tstate, serial);
            if (user != 0 && user != isan__tid()) {
                uint32_t creator, at = isan__thread_creator(user, &creator);
                add_place(id, ISAN__PLACE_attached, serial, user, at, "");
            }
        }
        publish_call(id);
    }
}

/* --- PyGILState_Ensure ------------------------------------------------------------------------ */

/* PyGILState_Ensure() leads to `current`, and the callback belongs to `owner` (serials).
 * importer: serial of the interpreter that has imported the caller's module, or 0. */
static void
report_ensure(void *pc, uint32_t owner, uint32_t current, uint32_t importer, uint32_t object, uint32_t stack)
{
    const struct isan__thread *self = &isan__self;
    uint32_t id = report_call(ISAN__ACCESS_ensure, "PyGILState_Ensure", pc, owner, current, object, stack);
    if (id != 0 && self->creator_serial == owner) {
        add_place(id, ISAN__PLACE_registered, owner, self->creator_tid, self->creator_stack, "");
    }
    else if (id != 0 && importer != 0) {
        add_place(id, ISAN__PLACE_imported, importer, 0, 0, "");
    }
    publish_call(id);
}

/* This thread has no thread state yet and gets one of the main interpreter. */
static void
check_first_ensure(void *pc)
{
    struct isan__thread *self = &isan__self;
    struct { uint64_t pc; uint32_t creator, imports; } key = { (uint64_t)pc, self->creator_serial, isan__n_imports };
    uint64_t hash = isan__table_key(ISAN__KEY_GILSTATE, &key, sizeof key);
    self->ensure_pc = pc;
    if (isan__table_get(&excused_ensures, hash) != 0 || isan__interp_of(isan__main_slot)->finalizing) {
        return;
    }
    bool by_main;
    const struct call call = describe_call("PyGILState_Ensure", pc);
    uint32_t importer = isan__importers_of(call.base, &by_main);
    if (is_call_excused(ISAN__ACCESS_ensure, &call, 0, importer, by_main)) {
        isan__table_put_or_drop(&excused_ensures, hash, 1);
        return;
    }
    self->ensure_pc = NULL;
    report_ensure(pc, self->creator_serial ? self->creator_serial : importer, main_serial(), importer, 0, 0);
}

/* Before 3.12 PyGILState_Ensure() attaches the first thread state that a thread had, even if the
 * thread has entered another interpreter since (Python/pystate.c, _PyGILState_NoteThreadState).
 * Code of the other interpreter then waits for the GIL that its own thread holds, or enters the
 * first interpreter.  An interpreter that this thread has left for good runs no code in it. */
static void
check_kept_state(const char *first, void *pc)
{
    const char *last = isan__self.detached;
    isan__slot_t here = isan__self.slot, to = isan__slot_of_interp(interp_of_state(first));
    bool lives = last != NULL && (isan__self.tstate == last || isan__noted_thread(last) != 0
                                  || (!(isan__load_tag(last) & ISAN__START) && embedding_interp(last) != 0));
    if (lives && here != 0 && to != 0 && here != to && (isan__self.tstate == last || isan__tstate_runs_python(last))) {
        report_ensure(pc, isan__interp_of(here)->serial, isan__interp_of(to)->serial, 0, 0, 0);
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
        check_first_ensure(pc);
        return;
    }
    if (isan__gilstate_may_be_foreign(state)) {
        isan__gilstate_check_attach(state, "PyGILState_Ensure", pc);
    }
    if (isan__py.keeps_first_tstate) {
        check_kept_state(state, pc);
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
        report_ensure(pc, owner, main_serial(), 0, object, isan__record_return_address(pc));
    }
}

/* --- without a thread state
 * ---------------------------------------------------------------------- */

static void
report_detached_call(const char *function, void *pc, uint32_t stack)
{
    const struct isan__thread *self = &isan__self;
    uint32_t serial = isan__interp_of(self->slot)->serial;
    uint32_t id = report_call(ISAN__ACCESS_detached, function, pc, serial ? serial : self->creator_serial, 0, 0, stack);
    if (id != 0 && serial != 0) {
        add_place(id, ISAN__PLACE_left, serial, isan__tid(), isan__record_return_address(self->detach_pc), "");
    }
    else if (id != 0 && self->creator_serial != 0) {
        add_place(id, ISAN__PLACE_registered, self->creator_serial, self->creator_tid, self->creator_stack, "");
    }
    publish_call(id);
}

void
isan__gilstate_check_call(const char *function, void *pc)
{
    struct isan__thread *self = &isan__self;
    if (isan__main_slot == 0) {
        return;
    }
    isan__sync_thread_state(true);
    /* The thread may be in an interpreter that has no slot (core/interp.c). */
    if (self->tstate != NULL || (!isan__py.process_wide_tstate && isan__py.current() != NULL)) {
        return;
    }
    const struct call call = describe_call(function, pc);
    if (is_call_excused(ISAN__ACCESS_detached, &call, 0, 0, false)) {
        return;
    }
    report_detached_call(function, pc, 0);
}

/* The runtime crashed at pc because of `address`.  Without a thread state, a function of the
 * C API first reads the state's interpreter, at a small offset from NULL. */
void
isan__gilstate_check_crash(uint64_t address, uint64_t pc, uint32_t stack)
{
    enum { LEAST_MAPPED = 65536 };         /* sysctl vm.mmap_min_addr */
    const struct isan__thread *self = &isan__self;
    if (address < LEAST_MAPPED && isan__runtime_runs((void *)pc) && self->tstate == NULL
        && isan__main_slot != 0 && isan__py.current() == NULL) {
        report_detached_call("the C API", (void *)pc, stack);
    }
}

/* --- Py_EndInterpreter
 * ------------------------------------------------------------------------------ */

/* The thread states of other threads in the interpreter that this thread ends.  freed: the state
 * was freed since. */
enum { MAX_OTHERS = 32 };
static __thread struct { const char *tstate; uint32_t tid; bool freed; } others[MAX_OTHERS];
static __thread int n_others;

static void
find_other_states(const void *interp)
{
    n_others = 0;
    const char *s = isan__py.first_state(interp);
    /* The interpreter may have another GIL than this thread, so its threads may end, and
     * the list may change, meanwhile. */
    for (int limit = 1000; s != NULL && limit-- > 0;) {
        unsigned long tid;
        if (s != isan__self.tstate && n_others < MAX_OTHERS && isan__peek(&tid, s + isan__py.ts_native, sizeof tid)
            && tid != isan__tid()) {
            others[n_others].tstate = s;
            others[n_others].freed = false;
            others[n_others++].tid = (uint32_t)tid;
        }
        if (!isan__peek(&s, s + isan__py.ts_next, sizeof s)) {
            break;
        }
    }
}

static void
report_other_states(uint32_t stack)
{
    struct isan__thread *self = &isan__self;
    if (n_others == 0) {
        return;
    }
    uint32_t id = report_call(ISAN__ACCESS_end, "Py_EndInterpreter", self->ending_pc, self->ending,
                              self->ending, 0, stack);
    for (int i = 0; i < n_others && id != 0; i++) {
        uint32_t creator, at = isan__thread_creator(others[i].tid, &creator);
        add_place(id, ISAN__PLACE_remains, self->ending, others[i].tid, at,
                  isan__thread_lives(others[i].tid) ? "" : "which has ended without deleting its thread state");
        if (at == 0) {
            add_creation_place(id, &creation, others[i].tstate, self->ending);
        }
    }
    publish_call(id);
}

/* Since 3.14 Py_EndInterpreter() joins the threading module's threads and then frees the
 * thread states that remain, unless something still refers to them
 * (Python/pylifecycle.c; Python/pystate.c, decref_threadstate).  This forgets the states
 * of the threads that were joined. */
static void
drop_joined_states(void)
{
    int n = 0;
    for (int i = 0; i < n_others; i++) {
        /* One that still exists may be a leak as well, which is another finding. */
        if (others[i].freed || isan__load_tag(others[i].tstate) & ISAN__NOTED) {
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
        find_other_states(interp);
    }
    else if (self->ending != 0) {
        drop_joined_states();
        if (isan__py.hexversion >= 0x030e0000) {
            report_other_states(0);
        }
        self->ending = 0;
    }
}

/* An atexit callback of the ending interpreter may delete a state: then Py_EndInterpreter() does
 * not find it. */
void
isan__gilstate_deleted(const char *tstate)
{
    for (int i = 0; isan__self.ending != 0 && i < n_others; i++) {
        if (others[i].tstate == tstate) {
            others[i--] = others[--n_others];
        }
    }
}

/* Before 3.14 Py_EndInterpreter() calls Py_FatalError() if there are other thread states
 * (Python/pylifecycle.c).  Nothing else in it ends the process outside of Python code. */
void
isan__gilstate_end_aborted(uint32_t stack)
{
    const void *interp;
    if (isan__self.ending != 0 && isan__self.tstate != NULL && !isan__in_python_frame()
        && (interp = interp_of_state(isan__self.tstate)) != NULL) {
        find_other_states(interp);
        report_other_states(stack);
    }
}

/* This thread does not go back to a state that it has deleted, and the next state at its
 * address may be another thread's. */
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
note_state_freed(const char *tstate, uint32_t tid)
{
    forget_state(tstate);
    uint32_t serial = isan__interp_of(isan__slot_of_interp(interp_of_state(tstate)))->serial;
    uint64_t pc = isan__table_take(&creation, (uint64_t)tstate);
    for (int i = 0; isan__self.ending != 0 && i < n_others; i++) {
        others[i].freed |= others[i].tstate == tstate;
    }
    if (serial != 0) {
        isan__table_put_or_drop(&freed_states, (uint64_t)tstate, (uint64_t)serial << 32 | tid);
        isan__table_take(&freed_creation, (uint64_t)tstate);
        if (pc != 0) {
            isan__table_put_or_drop(&freed_creation, (uint64_t)tstate, pc);
        }
    }
}

void
isan__gilstate_block_freed(const struct isan__noted_block *noted)
{
    if (noted->notes & ISAN__NOTE_TSTATE) {
        note_state_freed(noted->block, noted->notes & ISAN__NOTE_OBJECT ? 0 : noted->value);
    }
    if (noted->notes & ISAN__NOTE_INTERP) {
        note_interp_freed(noted->block, (isan__slot_t)noted->value);
    }
}
