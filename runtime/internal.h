/* What the recorder's files share.  Nothing here is for users.
 *
 * Rules for everything reached from a check, an allocation or a trap: no call
 * into Python, no lock that code under test can hold, no malloc.  isan's own
 * memory comes from isan__map().
 */
#ifndef ISAN_INTERNAL_H
#define ISAN_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "isan/refcount.h"
#include "runtime/log.h"

#define ISAN__LIKELY(x)   __builtin_expect(!!(x), 1)
#define ISAN__UNLIKELY(x) __builtin_expect(!!(x), 0)

enum isan__kind {
#define ISAN_KIND(name, title, hint) ISAN__KIND_##name,
#include "runtime/kinds.inc"
};
enum isan__access {
#define ISAN_ACCESS(name) ISAN__ACCESS_##name,
#include "runtime/kinds.inc"
};
enum isan__finding_add_place {
#define ISAN_PLACE(name, text) ISAN__PLACE_##name,
#include "runtime/kinds.inc"
};
enum isan__residue {
#define ISAN_RESIDUE(name, reason) ISAN__RESIDUE_##name,
#include "runtime/kinds.inc"
};
enum isan__retainer {
#define ISAN_RETAINER(name, hint) ISAN__RETAINER_##name,
#include "runtime/kinds.inc"
};
enum isan__reason {
#define ISAN_REASON(name, text) ISAN__REASON_##name,
#include "runtime/kinds.inc"
};

/* flags.c: the options. */
enum isan__statics_mode { ISAN__STATICS_look, ISAN__STATICS_watch };
enum isan__origin_mode { ISAN__ORIGIN_none, ISAN__ORIGIN_python, ISAN__ORIGIN_native };
struct isan__options {
#define ISAN_BOOL(name, dflt, help) bool name;
#define ISAN_NUM(name, dflt, min, max, help) long name;
#define ISAN_ENUM(name, dflt, choices, help) int name;
#define ISAN_STR(name, dflt, help) char name[1024];
#include "runtime/flags.inc"
#undef ISAN_BOOL
#undef ISAN_NUM
#undef ISAN_ENUM
#undef ISAN_STR
};
extern struct isan__options isan__options;
void isan__options_init(void);                /* exits the process on a bad option */

struct dl_phdr_info;                        /* <link.h> */
struct link_map;

/* util.c: what replaces libc where libc may not be used. */
void *isan__map(size_t size);               /* zeroed, NULL when there is none */
void isan__unmap(void *p, size_t size);
void isan__say(const char *format, ...)     /* one line on stderr: "isan: ..." */
    __attribute__((format(printf, 1, 2)));
_Noreturn void isan__die(const char *format, ...)   /* the same, then exit status 2 */
    __attribute__((format(printf, 1, 2)));
/* Copies size bytes from an address that may not be mapped; false if it is not. */
bool isan__peek(void *to, const void *from, size_t size);
static inline bool
isan__read(void *to, const void *from, size_t size, bool stable)    /* stable: it is mapped */
{
    return stable ? (memcpy(to, from, size), true) : isan__peek(to, from, size);
}
/* The same for a NUL-terminated string, cut to size - 1 bytes. */
bool isan__peek_string(char *to, const char *from, size_t size);
uint64_t isan__hash(const void *data, size_t size, uint64_t seed);
uint64_t isan__now(void);                   /* CLOCK_REALTIME, ns */
uint32_t isan__tid(void);

/* A lock of isan's own for the slow paths: held for a few instructions, never
 * while anything outside isan runs, free in a forked child. */
typedef struct { int word; } isan__lock_t;
void isan__lock(isan__lock_t *lock);
void isan__unlock(isan__lock_t *lock);
enum isan__fork { ISAN__FORK_BEFORE, ISAN__FORK_PARENT, ISAN__FORK_CHILD };
void isan__locks_fork(enum isan__fork when);

/* A growing table from 64-bit keys (not 0) to 64-bit values, under a lock unless
 * it is one thread's alone: that takes several times as long as looking. */
struct isan__table {
    isan__lock_t lock;
    bool alone;
    size_t used, size;
    struct { uint64_t key, value; } *slot;
};
uint64_t isan__table_get(struct isan__table *table, uint64_t key);      /* 0: not there */
bool isan__table_put(struct isan__table *table, uint64_t key, uint64_t value);
uint64_t isan__table_take(struct isan__table *table, uint64_t key);     /* get and remove */
void isan__table_clear(struct isan__table *table);                      /* and free */

/* record.c: the log. */
extern bool isan__recording;                /* there is a log to write to */
void isan__log_open(void);
void isan__log_close(void);                 /* orderly end: trims the file */
void isan__log_forked(void);                /* in the child */
const char *isan__log_name(void);
void isan__log_remove(void);
/* Room for a record of `size` bytes; NULL: the log is full (counted).
 * Fill it, then publish. */
void *isan__log_reserve(size_t size);
void isan__log_publish(void *record, uint32_t type);
void isan__log_dropped(void);
const struct isan_rec *isan__log_next(const struct isan_rec *rec);
uint32_t isan__log_findings(void);          /* published so far, but for residue */
void isan__log_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* python.c: the Python in this process, its symbols and its layout. */
struct isan__python {
    uint32_t hexversion;                    /* 0: none found */
    const char *runtime;                    /* &_PyRuntime */
    size_t runtime_size;
    const char *data;                       /* the segment it is in, with all static types */
    size_t data_size;
    const char *text;                       /* its functions, in the same module */
    size_t text_size;
    void *(*current)(void);                 /* the current thread state, or NULL */
    char *(*this_state)(void);              /* what PyGILState_Ensure takes; NULL: it makes one */
    uint64_t (*state_id)(const char *);     /* of a thread state, never used again in its interpreter */
    char *(*first_state)(const void *);     /* of an interpreter's thread states */
    intptr_t current_at;                    /* it is there from the thread's pointer; 0: not known */
    bool one_gil;                           /* for all threads of the process (3.11) */
    bool new_obmalloc;                      /* main gets one when Python is initialised again */
    bool values_prefixed;                   /* see leak.c (3.11 and 3.12) */
    bool has_cframe;                        /* between thread state and frame (3.11, 3.12) */
    uint16_t interp_id, interp_gil;
    uint16_t interp_finalizing;
    uint16_t runtime_finalizing;            /* the main interpreter's; 0: as for others */
    uint16_t ts_interp, ts_frame, cframe_frame;
    uint16_t ts_next, ts_thread, ts_native; /* pthread_self() and gettid() of whose it is */
    uint16_t frame_previous, frame_executable, frame_instr, frame_owner;
    uint16_t frame_is_entry;                /* 0: there is none */
    uint16_t code_filename, code_qualname, code_linetable, code_firstlineno, code_units;
    uint16_t type_name, type_flags, type_cached_keys;
    uint16_t tuple_items, values_header;
    uint16_t bytes_size, bytes_data;
    uint16_t unicode_state, unicode_length, unicode_ascii;
    uint16_t unicode_header;                /* how much more one with other characters has */
#define ISAN__PYTHON_TYPE(field, symbol) const void *field;
#include "runtime/types.inc"
};
extern struct isan__python isan__py;
/* In the writable data of the module that has the runtime. */
static inline bool
isan__runtime_has(uint64_t address)
{
    return address - (uintptr_t)isan__py.data < isan__py.data_size;
}
static inline bool
isan__runtime_runs(const void *function)
{
    return (uintptr_t)function - (uintptr_t)isan__py.text < isan__py.text_size;
}
/* What was loaded (dlopen's result, RTLD_DEFAULT at the start) brings a Python. */
bool isan__python_in(void *handle);
bool isan__python_init(void);               /* false: it has said why */
/* NULL: this Python has none.  Not while a lock of the dynamic linker's may be
 * held, as within dl_iterate_phdr: this takes another one, which whoever loads a
 * module takes first (elf/dl-open.c). */
void *isan__python_symbol(const char *name);
bool isan__initialized(void);               /* and not finalised */
/* The type name of an object that may be damaged; false if it makes no sense. */
bool isan__type_name(const void *op, char *name, size_t size);
/* A str as UTF-8, cut to fit; "": it cannot be read. */
void isan__copy_str(char *to, size_t size, const char *str, bool stable);
/* Include/cpython/object.h, PyTypeObject: the same in all releases. */
struct isan__type_object {
    uint64_t count;
    const void *type;
    int64_t size;
    const char *name;
    int64_t basicsize, itemsize;
    const void *dealloc, *to_flags[14];
    unsigned long flags;
    const void *doc, *traverse, *clear, *richcompare;
    int64_t weaklistoffset;
    const void *iter, *iternext, *methods;
    const char *members;
    const void *getset, *base, *dict, *descr_get, *descr_set;
    int64_t dictoffset;
    const void *to_finalize[12], *finalize;
};
/* Include/object.h */
#define ISAN__TYPE_INLINE_VALUES (1ul << 2)     /* 3.13 and later */
#define ISAN__TYPE_MANAGED_DICT  (1ul << 4)
#define ISAN__TYPE_HEAP          (1ul << 9)
#define ISAN__TYPE_READY         (1ul << 12)
#define ISAN__TYPE_HAVE_GC       (1ul << 14)
#define ISAN__TYPE_LIST          (1ul << 25)
#define ISAN__TYPE_TUPLE         (1ul << 26)
#define ISAN__TYPE_DICT          (1ul << 29)
#define ISAN__TYPE_TYPE          (1ul << 31)
/* Before an object that has one (Include/internal/pycore_object.h). */
enum { ISAN__MANAGED_DICT = -24 };
static inline bool
isan__read_type(struct isan__type_object *to, const void *type)
{
    return type != NULL && isan__peek(to, type, sizeof *to);
}
/* Of an object that is there (Include/object.h: ob_refcnt is 8 bytes). */
static inline const void *
isan__object_type(const void *op)
{
    return ((const void *const *)op)[1];
}
/* Does what is where an object has its count say that it is alive?  A count on
 * the heap is less than 2^32, and 3.14 keeps flags in the uppermost 16 bits
 * (Include/refcount.h); an object in a free list has none, or a link there
 * (Include/internal/pycore_freelist.h). */
static inline bool
isan__is_count(uint64_t count)
{
    return (count >> 32 & 0xffff) == 0 && (uint32_t)count != 0;
}
enum { ISAN__MA_KEYS = 32 };                /* offsetof(PyDictObject, ma_keys) */
/* The table of a dictionary: n entries, used or not, of entry_size bytes, the
 * key `key` bytes from their start, the value after it. */
struct isan__keys {
    const char *entries;
    size_t entry_size, key;
    uint64_t n;
};
bool isan__keys_at(struct isan__keys *keys, const char *table, bool stable);  /* false: it is none */

/* interp.c: interpreters and their slots. */
typedef uint16_t isan__slot_t;
struct isan__interp {
    void *interp;                           /* PyInterpreterState*, NULL once it has ended */
    const uint32_t *ends;                   /* not 0 from the beginning of its end on */
    uint32_t serial;                        /* 0: the slot is free */
    uint16_t kind;                          /* enum isan_interp_kind */
    uint8_t  shares_main;                   /* main's obmalloc and interned strings */
    uint8_t  running, finalizing, ended;    /* made; its modules go; its memory is gone */
    uint8_t  counted;                       /* ended, and `left` is valid */
    uint8_t  marked;                        /* by hooks/reftrace.c, all its objects */
    int64_t  id;
    uint32_t left;                          /* blocks it left behind, when ended */
    uint32_t end_stack;
};
extern isan__slot_t isan__main_slot;        /* 0: none yet */
void isan__interps_init(void);
/* Never NULL: slot 0 and free slots have serial 0. */
struct isan__interp *isan__interp_of(isan__slot_t slot);
/* Its memory stays as it is while this thread looks: it is of the interpreter
 * this thread runs in, or of one that has ended. */
bool isan__memory_is_stable(isan__slot_t slot);
isan__slot_t isan__register_interp(const void *interp);      /* registers a new one */
isan__slot_t isan__slot_of_interp(const void *interp);        /* 0: none; it may be any pointer */
isan__slot_t isan__next_live_slot(isan__slot_t slot);           /* after it; 0: none has not ended */
void isan__interps_clear_marked(void);          /* objects of those there are may have no mark */
void isan__interp_finalize(isan__slot_t slot);
void isan__interp_end(isan__slot_t slot);                 /* its memory has just been freed */
void isan__main_end(isan__slot_t slot);                   /* Python has been finalised */
void isan__interp_block_freed(isan__slot_t slot);            /* one of `left` was freed */
bool isan__share_obmalloc(isan__slot_t a, isan__slot_t b);
bool isan__share_gil(isan__slot_t a, isan__slot_t b);
void isan__retag(char *block, isan__slot_t to);             /* it is another's now */


/* The state of a thread. */
enum { ISAN__NESTED = 8 };
struct isan__thread {
    isan__slot_t slot;                      /* last slot attached, even when detached now */
    isan__slot_t free_slot;                 /* what a freed block must carry for the fast path */
    uint8_t nested;                         /* in the allocator of MEM or OBJECT (hooks/alloc.c) */
    uint8_t locks;                          /* of isan's, held */
    uint8_t crashing;                       /* waits for none of them longer than a second */
    uint8_t finalizing;                     /* ending the interpreter it is in */
    uint32_t n_findings;                       /* how often it was in a finding, or would have been */
    uint8_t scope;                          /* of ISAN_SCOPE (refcount.h) */
    uint8_t fast_origin;                        /* isan__current_origin() may take the short way */
    uint8_t running;                        /* the interpreter it is in has been made */
    uint8_t registered;                          /* to threads.c */
    uint8_t depth;                          /* used entries of suspended_tstates[] */
    uint32_t creator_serial, creator_stack, creator_tid; /* who started this thread, when it was in another
                                             * interpreter than the main one (hooks/thread.c) */
    uint8_t ignoring;                       /* scopes of isan_ignore_begin() that it is in */
    const char *reason[ISAN__NESTED];       /* why, the outer ones first */
    uint32_t ending;                        /* serial of the interpreter that it ends (gilstate.c) */
    void *ending_pc;                        /* where that was asked for */
    void *ensure_pc;                          /* where PyGILState_Ensure put it into the main interpreter */
    const char *requested_tstate;                      /* what it last asked the API to attach (3.11) */
    void *detach_pc;                             /* where it last gave up its thread state */
    char *tstate;                           /* attached now, or NULL */
    const uint32_t *ends;                   /* of its interpreter, if its end is news */
    uint32_t epoch;                         /* in which `tstate` is known */
    char *detached;                         /* the last one attached */
    char *suspended_tstates[ISAN__NESTED];              /* detached for a nested interpreter on this thread */
};
extern __thread struct isan__thread isan__self __attribute__((tls_model("initial-exec")));

/* hooks/stock.c: a Python that tells nobody when a thread changes its thread
 * state, so that isan must look. */
extern bool isan__stock;
extern uint32_t isan__epoch;                /* a thread state or an interpreter has gone */
void isan__stock_begin(void);
void isan__sync_thread_state_slow(bool raw);

/* Look where this thread is.  `raw`: it may be without the GIL.  Where no
 * address is known for the current thread state, what is read instead, the
 * thread's pointer (System V ABI, x86-64, TLS), is none. */
static inline void
isan__sync_thread_state_stock(bool raw)
{
    const struct isan__thread *self = &isan__self;
    const char *tstate = NULL;
#ifdef __x86_64__
    __asm__ volatile("movq %%fs:(%1), %0" : "=r"(tstate) : "r"(isan__py.current_at));
#endif
    if (ISAN__UNLIKELY(tstate != self->tstate || isan__epoch != self->epoch || *self->ends != 0)) {
        isan__sync_thread_state_slow(raw);
    }
}
static inline void
isan__sync_thread_state(bool raw)
{
    if (isan__stock) {
        isan__sync_thread_state_stock(raw);
    }
}

/* gilstate.c: thread states, and the threads that use them.  pc: where the
 * caller of the C-API function goes on. */
void isan__gilstate_attached(char *tstate);    /* by this thread, which last had another */
void isan__gilstate_created(const char *tstate, void *pc);
void isan__gilstate_freed(const char *tstate, uint32_t tid);    /* about to be freed; tid: whose it was */
void isan__gilstate_deleted(const char *tstate);   /* not by the runtime */
void isan__gilstate_interp_freed(const char *interp, isan__slot_t slot);
/* Might the thread state not be this thread's, that the thread is about to attach? */
static inline bool
isan__gilstate_may_be_foreign(const void *tstate)
{
    return tstate != NULL && (tstate != isan__self.detached || isan__epoch != isan__self.epoch);
}
void isan__gilstate_check_attach(const char *tstate, const char *function, void *pc);
void isan__gilstate_check_ensure(void *pc);                /* PyGILState_Ensure is about to be called */
void isan__gilstate_released(void);                  /* PyGILState_Release has been called */
void isan__gilstate_check_call(const char *function, void *pc);  /* called, perhaps without a thread state */
void isan__gilstate_check_crash(uint64_t address, uint64_t pc, uint32_t stack);
/* An object of that interpreter was used, in a finding with this serial. */
void isan__gilstate_foreign_object(uint32_t owner, uint32_t object);
void isan__gilstate_end_interp(const void *interp, void *pc);    /* Py_EndInterpreter is about to be called; NULL: it has returned */
void isan__gilstate_end_aborted(uint32_t stack);  /* the process */

/* hooks/got.c: the functions that a module imports: substitute() is asked for
 * each and returns what is to be called instead, or NULL.  `call`: it is only
 * called, its address not compared or stored (a PLT entry's). */
void isan__imports_rewrite(const struct dl_phdr_info *info,
    void *(*substitute)(const char *name, bool call, void *arg), void *arg);
/* The names with this tag in a module's dynamic section (DT_NEEDED, DT_SONAME). */
void isan__visit_dynamic_names(const struct dl_phdr_info *info, long tag,
    void (*visit)(const char *name, void *arg), void *arg);

/* hooks/reftrace.c: objects are created and destroyed (3.13 and later). */
extern bool isan__reftrace_active;                  /* it has been, at least once */
void isan__reftrace_install(void);             /* install, or take back, the tracer */

/* hooks/tsan.c: races, where this process has ThreadSanitizer. */
extern bool isan__tsan;
void isan__tsan_release(void *block);     /* to be freed in another thread, which takes it; without a lock of isan's held */
void isan__tsan_acquire(void *block);
void isan__tsan_init(void);
int isan__race_tsan_report(const void *report);    /* 0: it is none */
void isan__race_tsan_thread_runs(uint32_t serial);   /* this thread, that interpreter, from now on */
void isan__race_tsan_check_module(void *handle, const struct link_map *map);     /* say so if it was not built with it */

/* hooks/boundary.c: the C-API calls of extensions on a stock Python. */
void isan__boundary_wrap_modules(void);          /* in all modules that are new */

/* origin.c: sites and stacks. */
bool isan__in_python_frame(void);                  /* of Python code */
bool isan__tstate_runs_python(const char *tstate);        /* any, in that thread state, which is there */
uint32_t isan__current_site(void);             /* of the current Python frame; 0: none */
uint32_t isan__record_stack(void *ucontext);  /* record this thread's stack; ucontext: of a signal, or NULL */
uint32_t isan__record_return_address(const void *pc);    /* one of a single frame: where a call returned to */
/* Record a stack with n native addresses from elsewhere; `here`: it is this thread's. */
uint32_t isan__record_native_stack(const uint64_t *native, int n, bool here);
uint32_t isan__origin_slow(void);           /* what to remember of an allocation now */
bool isan__origin_is_stack(uint32_t origin);

/* unwind.c: native stacks and loaded modules. */
int isan__unwind(uint64_t *pcs, int max, void *ucontext);
void isan__log_modules(void);              /* record modules loaded since */

/* threads.c: the threads that have run an interpreter, and their own memory. */
void isan__thread_note_interp(uint32_t serial);    /* this one, that interpreter, from now on */
void isan__threads_forked(void);            /* in the child */
bool isan__thread_lives(uint32_t tid);
uint32_t isan__thread_creator(uint32_t tid, uint32_t *by);  /* stack; by: serial of the maker's interpreter; 0: unknown */
void isan__threads_forget_ended(void);
void isan__visit_threads(void (*visit)(uint32_t tid, uintptr_t pointer, void *arg), void *arg);
/* Where the thread with that pointer has the TLS block of a module
 * (dlpi_tls_modid); it may be gone.  NULL: it has none. */
const char *isan__tls_block(uintptr_t pointer, size_t module);

/* statics.c: who holds it. */
bool isan__module_has_runtime(const struct dl_phdr_info *info);    /* this module */
bool isan__module_is_excluded(const struct dl_phdr_info *info);       /* isan, the C library, ... */
bool isan__module_uses_python(const struct dl_phdr_info *info);
bool isan__is_pointer(uint64_t value);      /* to user space, aligned as blocks are */
bool isan__module_has_soname(const struct dl_phdr_info *info, const char *name);    /* by others that need it */
/* The module's static that points at the block or its object; address 0: none. */
struct isan_holder isan__find_static_holder(const void *block, const void *object);
/* Every word in a module's writable data that points at a block of slot. */
void isan__visit_statics_of(isan__slot_t slot,
    void (*visit)(const struct isan_holder *where, char *block, void *arg), void *arg);
/* Every word that may be a pointer in the writable data of what uses Python, but for
 * the runtime. */
void isan__visit_statics(void (*word)(const struct isan_holder *where, uint64_t value, void *arg), void *arg);

/* behind.c: the static that leads to the object through `hops` pieces of memory,
 * from a word at this offset in one to the next. */
struct isan__pointer_path {
    struct isan_holder holder;
    uint32_t hops, at[ISAN_HOPS];
};
/* Each wanted word in such memory, or only in that which is no interpreter's, until
 * found() says that it is enough. */
void isan__search_indirect(bool untagged, bool (*wanted)(uint64_t value, void *arg),
    bool (*found)(const struct isan__pointer_path *behind, uint64_t value, void *arg), void *arg);
/* The static that points at the block or its object (then hops is 0), or leads to it;
 * address 0: none. */
void isan__find_holder(const void *block, const void *object, struct isan__pointer_path *behind);
void isan__log_path(uint32_t finding, const struct isan__pointer_path *behind);     /* if hops is not 0 */

/* statics.c again.
 * The current interpreter imports the module at base, and with it the libraries
 * that it is linked to and that use Python themselves. */
void isan__import_module(uintptr_t base);
void isan__import_defined(uintptr_t base, const void *definition);     /* by its PyInit function */
extern uint32_t isan__n_imports;              /* how many there were, of any module */
/* Who has imported the module at base: the main interpreter, and the serial of
 * the last other one, which may have ended; 0: none. */
uint32_t isan__importers_of(uintptr_t base, bool *by_main);
void isan__forget_imports(uint32_t serial);         /* that interpreter has ended */
void isan__imports_ran_on_thread(uintptr_t pointer, uint32_t serial);   /* it has run on that thread */
void isan__imports_new_thread(uintptr_t pointer);        /* none has: it is a new one */
/* Report what the statics of extensions hold of one interpreter, living or not,
 * when another that has imported the extension lives. */
void isan__scan_statics(void);
/* Have interpreters that live, and do not share a GIL, imported the module? */
bool isan__is_imported_in_parallel(uintptr_t base);
bool isan__is_module_copy(uint64_t where);          /* m_copy of a PyModuleDef */
bool isan__is_type_slot(uint64_t where);            /* what PyType_Ready fills in */
bool isan__is_arg_parser_cache(uint64_t where, const void *op);

/* Raw blocks, of any interpreter, that the runtime's statics lead to. */
void isan__mark_runtime_reachable(struct isan__table *seen);

/* watch.c: blocks with a story: a registered code object, an interpreter, an
 * object that was in a finding, a thread state, what the program has declared. */
enum {
    ISAN__NOTE_CODE = 1, ISAN__NOTE_INTERP = 2, ISAN__NOTE_OBJECT = 4, ISAN__NOTE_TSTATE = 8,
    ISAN__NOTE_SHARED = 16, ISAN__NOTE_TRANSFERRED = 32,
};
void isan__note_block(char *block, unsigned what, uint32_t value);
uint32_t isan__noted_serial(const char *block);       /* 0: none */
bool isan__is_declared_shared(const char *block);              /* the program says so */
uint32_t isan__noted_thread(const char *block);         /* tid of who first attached it; 0: nobody */
isan__slot_t isan__noted_block_freed(char *block);
void isan__noted_block_moved(char *from, char *to);

/* trap.c: findings. */
/* The object (or block) at op was used, with `access`, by the instruction
 * before pc.  True: a finding; false: it is excused or was not foreign. */
bool isan__check_foreign_use(int kind, int access, const void *op, void *pc);
/* The static holds the object at op, which interpreter `other` (serial) can
 * reach as well as its owner. */
void isan__report_static(const struct isan_holder *holder, const void *op, char *block, uint32_t other);
/* The static type is used by the interpreter `other` (serial), and by the one
 * `owner` if that is not 0; own: it is the standard library's; again: both are
 * the main interpreter, of one Py_Initialize and of a later one. */
void isan__report_static_type(const char *type, uint32_t owner, uint32_t other, bool own, bool again);
/* The count of the immortal object at op, of the interpreter `owner` (serial) or
 * of none, was changed, on this stack if that is known (not 0); returns the finding. */
uint32_t isan__report_immortal(const void *op, uint32_t owner, const char *name, uint32_t stack);
/* The function was called by a thread where it may not be, in one of the ways
 * that kinds.inc has an ISAN_STATE for.  object: serial, if one shows it.  Returns
 * the finding, to which places are to be added, or 0: it is known. */
uint32_t isan__report_gilstate(int access, const char *function, void *pc, uint32_t owner, uint32_t current,
                          uint32_t object, uint32_t stack);
void isan__findings_forked(void);
/* Ids of the findings about an object, newest first; returns how many. */
int isan__findings_of_object(uint32_t object_serial, uint32_t *ids, int max);
int isan__finding_kind(uint32_t id);       /* enum isan__kind; -1: there is none of that number */
void isan__finding_became_leak(uint32_t finding, uint32_t leak);
void isan__block_leaked(char *block, uint32_t leak);
uint32_t isan__next_finding(void);
bool isan__is_str(const void *op);                      /* NULL is none */
bool isan__is_interned_table(const char *block);        /* memory, no object */
/* A race on the object or block at `op` of a tagged block, or on the variable that
 * the holder is at (address 0: none), or else on `memory`.  `other` and
 * `current` (serials): whose accesses, `current`'s now. */
struct isan__race {
    struct isan_holder holder;
    const void *op;
    char *block;                            /* NULL: it is in none */
    struct isan_object memory;
    uint32_t current, used;
    uint64_t key;                           /* the same of all that are one */
};
struct isan_rec_finding *isan__race(const struct isan__race *race);   /* NULL: it was told before */
/* One more place of a finding that has been published; NULL: the log is full. */
struct isan_rec_place *isan__finding_add_place(const struct isan_rec_place *place, const char *text);
uint32_t isan__describe_object(struct isan_object *object, const void *op, char *block);

/* immortal.c: immortal objects whose reference count has changed. */
void isan__immortals_init(void);
void isan__immortals_forked(void);
void isan__immortal_add_suspect(const struct dl_phdr_info *info);    /* this module is imported */
/* Compare; what this is done for, such as "the import of x.so". */
void isan__scan_immortals(const char *format, ...) __attribute__((format(printf, 1, 2)));
int64_t isan__immortal_difference(const void *op);             /* by how much its count differs */
/* Does code that knows immortal objects count a reference to one whose count is
 * off by that, when it takes (or else gives back) one? */
bool isan__immortal_counted(int64_t off, bool taken);

/* breakpoint.c: who changes them. */
bool isan__immortal_watch_wanted(const char *name);              /* by the option */
void isan__immortal_watch_add(const char *op, const char *name);
void isan__immortal_watch_begin(void);
void isan__immortal_watch_resume(void);                           /* there has been a look */
uint32_t isan__immortal_watch_finding(const char *op);           /* 0: none, or not watched */
void isan__immortal_watch_forked(void);

/* traverse.c: references that an extension's tp_traverse does not show. */
struct isan__gc_reason {
    uint32_t reason, basicsize;             /* enum isan__reason */
    uint64_t offset, code;
    char type[128], target[128], member[64];
};
/* The interpreter begins to end, on this thread: ask what there is of its types. */
void isan__survey_traverse(isan__slot_t slot);
/* Why the collector cannot see through an object that its interpreter left, or
 * not clear it; returns how many reasons.  found: how many references to an
 * object or memory there are in the other blocks that were left. */
int isan__gc_reasons(const char *op,
    uint32_t (*found)(const void *of, void *arg), void *arg, struct isan__gc_reason *to, int max);
uint32_t isan__reference_count(const char *op);           /* its count, of an object that was left */
void isan__survey_forget(isan__slot_t slot);          /* its end has been reported */

/* edge.c: what a reference is called. */
struct isan__reference_name {
    uint32_t edge, basicsize;               /* enum isan_edge */
    uint64_t offset, code;
    char label[64], member[64];
};
/* How the object at `from` (NULL: raw memory) refers to another: at this offset
 * from its start, less than 0 before it; or, if `memory` is not NULL, at this
 * offset in a block of memory that it points at. */
void isan__name_reference(const char *from, const char *memory, ptrdiff_t at, struct isan__reference_name *edge);
/* The C member there of an instance, if its type tells; "": it does not. */
void isan__member_name(char *name, size_t size, const void *type, ptrdiff_t at);

/* leak.c */
uint32_t isan__report_leaks(isan__slot_t slot);             /* report; returns the blocks left */
uint32_t isan__report_owned(isan__slot_t slot);             /* the same of a living one whose GIL this thread holds */

/* quarantine.c */
bool isan__quarantine(char *block, int domain);         /* false: free it now */
uint32_t isan__quarantine_holds(uint32_t serial);       /* blocks of that interpreter */

/* stores.c: stores into statics by several interpreters (statics=watch). */
void isan__race_stores_init(void);               /* exits the process if it cannot be */
void isan__race_stores_module_loaded(uintptr_t base);   /* this module, and those it needs, new or not */
void isan__race_stores_forked(void);             /* in the child */
void isan__race_stores_update(void);                /* other interpreters have imported what there is */

/* declare.c: what the program declares. */
uint32_t isan__creator_of(const char *block);             /* who created it, if it was transferred; 0: its owner */
isan__slot_t isan__transfer_end(char *block, isan__slot_t by);
void isan__transfers_end_of(isan__slot_t ended);
void isan__transferred_gone(const char *block);
void isan__transferred_moved(const char *from, const char *to);
bool isan__ignored(void);
void isan__declared_forked(void);           /* in the child */
/* Is this thread's finding, which is about to be made, none? */
static inline bool
isan__ignores(void)
{
    return ISAN__UNLIKELY(isan__self.ignoring != 0) && isan__ignored();
}

/* listen.c: who is told of findings. */
void isan__findings_changed(void);                      /* a finding, or waiting is to end: from anywhere */
uint32_t isan__callbacks_event(void);                 /* changes with that */
void isan__callbacks_wait(uint32_t seen);             /* until it is no longer that */
void isan__callbacks_forked(void);          /* in the child */

/* module.c */
void isan__module_init(void);               /* before Python is initialised */

/* demand.c */
extern uint8_t isan__scan_requested;                /* a signal has asked for a look */
void isan__query_init(void);
void isan__scan_if_requested(void);            /* if this is a place for it */

/* init.c */
void isan__loaded(void *handle);            /* by dlopen */
void isan__halt_if_requested(void);                                  /* there is a finding: report and abort, with halt_on_error */

/* hooks/ */
extern const struct isan__hooks isan__hook_table;       /* hooks/lifecycle.c */
void isan__thread_update_slots(void);                 /* what this thread's checks compare with */
void isan__alloc_install(void);                         /* hooks/alloc.c */
bool isan__alloc_lost(void);
bool isan__alloc_wrapped(void);                         /* by tracemalloc's */
void isan__real_free(int domain, void *p);
void isan__arenas_install(void);                        /* hooks/arena.c */
/* The interpreter has ended and nothing of it is in quarantine (any more). */
void isan__arenas_of_ended(uint32_t serial);

#endif
