/* The format of the log, which the recorder (libisan.so, in the process under test) writes
 * and the reporter (isan report) reads.
 *
 * A log is one file, which the recorder maps MAP_SHARED.  So all that was recorded survives
 * the death of the process, SIGKILL included, without a handler.  The file is a header page
 * and then records, which are appended without a lock.  A writer reserves room by adding to
 * `tail`, writes `size`, fills the record, and stores `type` last.  A reader skips a record of
 * type 0, as its writer died, and stops at a record of size 0 (a torn log).
 *
 * Everything is in host byte order and naturally aligned.  The size of a record is a multiple
 * of 8 bytes.  Strings are NUL-terminated bytes in the encoding of the process; a reader must
 * escape them.  `text` of a record is a sequence of strings.
 *
 * reports/read/records.py has the same layouts: change both together.
 */
#ifndef ISAN_LOG_H
#define ISAN_LOG_H

#include <stdint.h>

#define ISAN_LOG_MAGIC   "ISANLOG1"
#define ISAN_LOG_VERSION 4u
#define ISAN_LOG_HEADER  4096u      /* bytes before the first record */

struct isan_log_header {
    char     magic[8];
    uint32_t version;
    uint32_t header_size;           /* ISAN_LOG_HEADER */
    uint64_t tail;                  /* bytes used, header included */
    uint64_t dropped;               /* records lost (disk full, table full) */
    uint32_t pid, ppid;
    uint64_t start_ns;              /* CLOCK_REALTIME */
    uint64_t parent_tail;           /* forked: the parent's tail at the fork, or 0 */
    char     parent[1024];          /* forked: file name of the parent's log beside this one, or "" */
};

enum isan_rec_type {
    ISAN_REC_NONE = 0,
    ISAN_REC_PROCESS,
    ISAN_REC_MODULE,
    ISAN_REC_CODE,
    ISAN_REC_STACK,
    ISAN_REC_INTERP,
    ISAN_REC_FINDING,
    ISAN_REC_LEAK,
    ISAN_REC_CRASH,
    ISAN_REC_EXIT,
    ISAN_REC_NOTE,
    ISAN_REC_STEP,
    ISAN_REC_KEPT,
    ISAN_REC_REASON,
    ISAN_REC_PLACE,
    ISAN_REC_IGNORED,
    ISAN_REC_PATH,
};

struct isan_rec {
    uint32_t type;                  /* enum isan_rec_type, stored last */
    uint32_t size;                  /* whole record, multiple of 8 */
};

/* Once, first. text: exe path, working directory, flavor ("fast", "debug",
 * "tsan", "stock"), ISAN_OPTIONS as given, then argc command-line words. */
struct isan_rec_process {
    struct isan_rec rec;
    uint32_t py_hexversion;         /* 0: not a Python (yet) */
    uint32_t argc;
    char     text[];
};

/* A loaded ELF object.  Run-time address - bias = the ELF file's p_vaddr.
 * [start, end) covers its PT_LOAD segments.  The record comes before any record that has an
 * address in the module.  After dlclose another module may use the addresses: the newest
 * record before the address counts.
 * text: path, build-id in hex ("" if none). */
struct isan_rec_module {
    struct isan_rec rec;
    uint64_t bias, start, end;
    char     text[];
};

/* A code object that created something.  It has the sites [base, base+units).  site - base is
 * the index of the instruction's code unit (2 bytes) in co_code.  The linetable gives its line
 * (PEP 626, Objects/locations.md of CPython 3.11 and later).
 * text: filename, qualname.  Then linetable_size bytes of co_linetable. */
struct isan_rec_code {
    struct isan_rec rec;
    uint32_t base, units;
    int32_t  firstlineno;
    uint32_t linetable_size;
    uint32_t text_size;             /* the linetable starts here after text[] */
    uint32_t pad;
    char     text[];
};

/* A stack, innermost frame first: native return addresses (the first one is the exact pc), and
 * Python frames.  A Python frame with ISAN_FRAME_ENTRY is the outermost one of an activation of
 * the evaluation loop.  A native frame of _PyEval_EvalFrameDefault stands for all Python frames
 * up to and including the next such frame. */
struct isan_frame {
    uint32_t site;                  /* 0: unknown */
    uint16_t flags;
    uint16_t pad;
    uint32_t interp;                /* serial of the interpreter it ran in; 0, in the origin of
                                     * an object: the object's owner */
    uint32_t pad2;
};
enum { ISAN_FRAME_ENTRY = 1 };

struct isan_rec_stack {
    struct isan_rec rec;
    uint32_t id;                    /* > 0 */
    uint16_t n_native, n_python;
    /* uint64_t native[n_native]; struct isan_frame python[n_python]; */
    uint64_t data[];
};

/* An interpreter begins or ends.  `serial` is isan's number for it, > 0, and never reused within
 * a process.  `id` is CPython's (PyInterpreterState_GetID). */
enum isan_interp_kind { ISAN_INTERP_MAIN = 0, ISAN_INTERP_LEGACY = 1, ISAN_INTERP_OWN_GIL = 2 };
enum isan_interp_event { ISAN_INTERP_BEGIN = 1, ISAN_INTERP_FINALIZING = 2, ISAN_INTERP_END = 3 };
struct isan_rec_interp {
    struct isan_rec rec;
    uint32_t serial;
    uint16_t event, kind;
    int64_t  id;
    uint64_t time_ns;               /* CLOCK_REALTIME */
    uint32_t tid;                   /* gettid() */
    uint32_t stack;                 /* where it happened, 0 if unknown */
};

/* An object or block of memory, as findings speak of it. */
enum {
    ISAN_OBJ_OBJECT = 1,            /* a Python object (else: raw memory) */
    ISAN_OBJ_FREED = 2,             /* already deallocated: a dangling pointer */
    ISAN_OBJ_ORIGIN_STACK = 4,      /* `origin` is a stack id, else a site */
    ISAN_OBJ_INTERNED = 8,          /* a str in an interned dictionary */
    ISAN_OBJ_RECYCLED = 16,         /* `origin` may be an earlier object's in the same memory */
    ISAN_OBJ_STATIC_TYPE = 32,      /* a static type: the finding's type name is its tp_name,
                                     * holder and address are the same, and owner is another
                                     * interpreter that uses it */
};
struct isan_object {
    uint64_t address;
    uint64_t size;                  /* bytes of its block, in multiples of 16 */
    uint32_t serial;                /* isan's number for it, 0: none given */
    uint32_t owner;                 /* interpreter serial, 0: unknown */
    uint32_t origin;                /* site or stack id that created it, 0: unknown */
    uint32_t flags;
    uint32_t creator;               /* serial of the interpreter that created it, if it was transferred; 0: its owner */
    uint32_t pad;
};

/* A static (or other module data) that holds a pointer to the object. */
enum {
    ISAN_HOLDER_CUT_SHORT = 1,      /* the search through memory was given up before it found one */
};
struct isan_holder {
    uint64_t address;               /* run-time address within some isan_rec_module; 0: none found */
    uint64_t tls;                   /* 0: it is not thread-local; else its offset, plus 1, in the TLS
                                     * block of the module that starts at `address` */
    uint32_t tid;                   /* of a thread-local one: the thread */
    uint32_t flags;                 /* ISAN_HOLDER_* */
};

/* kind and access index runtime/core/kinds.inc, in order, from 0. */
struct isan_rec_finding {
    struct isan_rec rec;
    uint32_t id;                    /* > 0, order of first occurrence; leaks share the numbering */
    uint16_t kind, access;
    uint64_t count;                 /* updated in place */
    uint64_t time_ns;
    uint32_t tid;
    uint32_t current;               /* interpreter serial, 0: none attached */
    struct isan_object object;
    struct isan_holder holder;
    uint32_t used;                  /* stack id */
    uint32_t gone;                  /* id of the leak that the object became when its owner ended; 0: none */
    uint32_t number;                /* what isan_findings() (isan.h) returned when it was made */
    uint32_t pad;
    char     text[];                /* type name */
};

/* Another place of a finding.  A finding's places are in the order of their records.  `role`
 * indexes the ISAN_PLACE table of kinds.inc.  text: a name, which depends on the role. */
enum {
    ISAN_PLACE_WRITE = 1, ISAN_PLACE_ATOMIC = 2,    /* of an access */
    ISAN_PLACE_DETACHED = 4,        /* it was in `interp`, without its GIL */
    ISAN_PLACE_UNKNOWN = 8,         /* its interpreter is not known */
    ISAN_PLACE_FREE = 16,           /* the memory was freed */
    ISAN_PLACE_MORTAL = 32,         /* of a change: the object is no longer immortal */
    ISAN_PLACE_OLD_ABI = 64,        /* of a suspect: it is for the stable ABI, and counts references inline */
};
struct isan_rec_place {
    struct isan_rec rec;
    uint32_t finding;
    uint16_t role, flags;
    uint32_t stack, tid;            /* 0: unknown */
    uint32_t interp, pad;           /* serial, 0: none */
    int64_t  amount;                /* bytes accessed, or references, or the address of a lock,
                                     * by role; may be updated in place */
    char     text[];
};

/* A group of blocks that an interpreter left.  With `query`, blocks that it owned when isan was
 * asked, which is no finding.  The blocks are roots of one type, creation site and retainer.
 * `retainer` indexes the ISAN_RETAINER table of kinds.inc, and `residue` its ISAN_RESIDUE table. */
struct isan_rec_leak {
    struct isan_rec rec;
    uint32_t id;
    uint16_t residue, retainer;
    uint64_t count, bytes;          /* blocks of the group */
    uint64_t retained, retained_bytes;      /* blocks that the group keeps alive */
    uint64_t unexplained_refs;      /* references to the group's objects that isan did not find */
    struct isan_object object;      /* a sample of the group */
    struct isan_holder holder;      /* static that holds the sample */
    uint32_t n_paired;              /* pairs of u32: object serial, finding id */
    uint32_t domain;                /* 'r' raw, 'm' mem, 'o' object, 0 mixed */
    uint32_t text_size;
    uint32_t query;                 /* the same number for all groups of one query; 0: the interpreter has ended */
    uint32_t number, pad;           /* of a finding: as in isan_rec_finding */
    char     text[];                /* type name ("" for raw memory); then the pairs, 8-aligned */
};

/* How one object refers to another: a step of the path from the retainer of a leak to an object
 * that the leak keeps alive. */
enum isan_edge {
    ISAN_EDGE_FIELD,                /* a pointer at `offset` bytes from the object's start */
    ISAN_EDGE_ITEM,                 /* of a list or tuple: `offset` is the index */
    ISAN_EDGE_KEY,                  /* a dictionary's or set's key, the offset-th entry */
    ISAN_EDGE_VALUE,                /* a dictionary's value; label: its key, if that is a str */
    ISAN_EDGE_ATTRIBUTE,            /* an instance's; label: its name */
    ISAN_EDGE_TYPE,                 /* ob_type */
    ISAN_EDGE_MEMORY,               /* from memory that the object points at */
};

/* One step of the path from a leak's retainer to a sample of what the leak keeps alive, in order.
 * Step 0 starts at the object of another interpreter, if that is the retainer.  Step 1 starts at
 * the leak's own sample.  text: the type name of `from` ("": raw memory), that of `to`, the label
 * of the edge, and the C name of the member of `from` if its type has it (PyMemberDef). */
struct isan_rec_step {
    struct isan_rec rec;
    uint32_t leak, position;
    struct isan_object from, to;
    uint32_t edge;                  /* enum isan_edge */
    uint32_t basicsize;             /* of from's type, bytes; 0: raw memory */
    uint64_t offset;
    uint64_t code;                  /* tp_dealloc of from's type, which names its module; or 0 */
    char     text[];
};

/* What a leak keeps alive of one type, most bytes first.  The leak itself is not counted.
 * text: the type name ("": raw memory). */
struct isan_rec_kept {
    struct isan_rec rec;
    uint32_t leak, pad;
    uint64_t count, bytes;
    char     text[];
};

/* Why the garbage collector could not clear a cycle.  `reason` indexes the ISAN_REASON table of
 * kinds.inc.  text: the type's name, the type name of the object that its member refers to ("": the
 * type itself, or none), and the member's C name if the type has it. */
struct isan_rec_reason {
    struct isan_rec rec;
    uint32_t leak, reason;
    uint32_t basicsize, pad;
    uint64_t offset;                /* of the member in the instance, bytes; 0: no member */
    uint64_t code;                  /* tp_traverse, or another function of the type */
    char     text[];
};

struct isan_rec_crash {
    struct isan_rec rec;
    int32_t  signal, code;
    uint64_t address;
    uint32_t stack, current;        /* stack id, interpreter serial */
    uint32_t tid, pad;
};

/* The process ended in an orderly way (exit or exec). */
struct isan_rec_exit {
    struct isan_rec rec;
    uint64_t time_ns;
};

/* The path from the static of a finding or leak to the object, if it leads through memory:
 * through `n_steps` pieces, from the word at offset at[i] of piece i to the next. */
#define ISAN_MAX_STEPS 6
struct isan_rec_path {
    struct isan_rec rec;
    uint32_t finding, n_steps;
    uint32_t at[ISAN_MAX_STEPS];    /* of the first steps */
};

/* Uses that are no findings because of the program's isan_ignore_begin().
 * text: the reason that the program gave. */
struct isan_rec_ignored {
    struct isan_rec rec;
    uint64_t count;                 /* updated in place */
    char     text[];
};

/* One line for the reader of the report. text: the line. */
struct isan_rec_note {
    struct isan_rec rec;
    char     text[];
};

#endif
