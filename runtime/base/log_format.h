/* The log: what the recorder (libisan.so, inside the process under test)
 * tells the reporter (isan report, outside it).
 *
 * A log is one file, mapped MAP_SHARED by the recorder, so that everything
 * recorded survives any death of the process, SIGKILL included, without a
 * handler having to run.  It is a header page and then records, appended
 * lock-free: a writer reserves room by adding to `tail`, writes `size`, fills
 * the record, and last stores `type`.  A reader that meets type 0 skips the
 * record (its writer died); one that meets size 0 stops there (torn log).
 *
 * Everything is in host byte order and naturally aligned; records are
 * multiples of 8 bytes.  Strings are NUL-terminated bytes in whatever encoding
 * the process had, hostile until escaped; `text` of a record is a run of them.
 *
 * reports/log.py reads this; keep the two together.
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
    ISAN_REC_BEHIND,
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
 * [start, end) covers its PT_LOAD segments.  Written before any record that
 * has an address in it; the same address range may be reused after dlclose,
 * the newest record before the address counts.
 * text: path, build-id in hex ("" if none). */
struct isan_rec_module {
    struct isan_rec rec;
    uint64_t bias, start, end;
    char     text[];
};

/* A code object that created something.  Owns the sites [base, base+units):
 * site - base = index of the instruction's code unit (2 bytes each) in
 * co_code, to be turned into a line with the linetable (PEP 626,
 * Objects/locations.md of CPython 3.11 and later).
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

/* A stack, innermost frame first.  `native` return addresses (the first is
 * the exact pc) and `python` frames.  A Python frame with ISAN_FRAME_ENTRY is
 * the outermost one run by one activation of the evaluation loop: the native
 * frame of _PyEval_EvalFrameDefault stands for all Python frames up to and
 * including the next entry frame. */
struct isan_frame {
    uint32_t site;                  /* 0: unknown */
    uint16_t flags;
    uint16_t pad;
    uint32_t interp;                /* serial of the interpreter it ran in; 0: the owner of
                                     * the object whose origin this is */
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

/* An interpreter begins or ends.  `serial` is isan's, never reused within a
 * process, > 0; `id` is CPython's own (PyInterpreterState_GetID). */
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
    ISAN_OBJ_STATIC_TYPE = 32,      /* a PyTypeObject in a module's data: the finding's type name is
                                     * its own tp_name, holder and address are the same, owner is
                                     * an interpreter that uses it beside `current` */
};
struct isan_object {
    uint64_t address;
    uint64_t size;                  /* bytes of its block, in multiples of 16 */
    uint32_t serial;                /* isan's number for it, 0: none given */
    uint32_t owner;                 /* interpreter serial, 0: unknown */
    uint32_t origin;                /* site or stack id that created it, 0: unknown */
    uint32_t flags;
    uint32_t maker;                 /* who created it, if the program has transferred it since; 0: its owner */
    uint32_t pad;
};

/* A static (or other module data) that holds a pointer to the object. */
enum {
    ISAN_HOLDER_CUT_SHORT = 1,      /* the search through memory was given up before it had found one */
};
struct isan_holder {
    uint64_t address;               /* run-time address within some isan_rec_module; 0: none found */
    uint64_t tls;                   /* not 0: it is thread-local, this less 1 is its offset in the TLS
                                     * block of the module that `address` is in (the start of) */
    uint32_t tid;                   /* whose, if it is */
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
    uint32_t gone;                  /* what the object came to when its owner ended: the leak's id, 0: freed properly or still alive */
    uint32_t number;                /* what isan_findings() (isan.h) gave when it was made */
    uint32_t pad;
    char     text[];                /* type name */
};

/* Another place that finding `finding` tells of, in the order of the records:
 * `role` indexes kinds.inc's ISAN_PLACE table.  text: a name, as the role has it. */
enum {
    ISAN_PLACE_WRITE = 1, ISAN_PLACE_ATOMIC = 2,    /* of an access */
    ISAN_PLACE_DETACHED = 4,        /* without the GIL of `interp`, which it was in */
    ISAN_PLACE_UNKNOWN = 8,         /* it may have been in any interpreter */
    ISAN_PLACE_FREE = 16,           /* the memory was freed */
    ISAN_PLACE_MORTAL = 32,         /* of a change: the object is immortal no more */
    ISAN_PLACE_OLD_ABI = 64,        /* of a suspect: it is for the stable ABI, and counts references inline */
};
struct isan_rec_place {
    struct isan_rec rec;
    uint32_t finding;
    uint16_t role, flags;
    uint32_t stack, tid;            /* 0: unknown */
    uint32_t interp, pad;           /* serial, 0: none */
    int64_t  amount;                /* what the role counts: bytes accessed, references; of a lock its
                                     * address; may be updated in place */
    char     text[];
};

/* A group of blocks that an interpreter left - or, with a `look`, that it owned
 * when it was asked, which is no finding: roots of one type and creation site,
 * kept alive in one way.  `keeper` indexes kinds.inc's ISAN_RETAINER table;
 * `residue`, if not 0, its ISAN_RESIDUE table: why it is not the user's. */
struct isan_rec_leak {
    struct isan_rec rec;
    uint32_t id;
    uint16_t residue, keeper;
    uint64_t count, bytes;          /* blocks of the group */
    uint64_t kept, kept_bytes;      /* blocks that only live because the group refers to them */
    uint64_t extra;                 /* references to the group's objects that nothing found explains */
    struct isan_object object;      /* a sample of the group */
    struct isan_holder holder;      /* static that holds the sample */
    uint32_t n_paired;              /* pairs of u32: object serial, finding id */
    uint32_t domain;                /* 'r' raw, 'm' mem, 'o' object, 0 mixed */
    uint32_t text_size;
    uint32_t look;                  /* of the groups of one look the same number; 0: at its end */
    uint32_t number, pad;           /* as a finding's, if it is one */
    char     text[];                /* type name ("" for raw memory); then the pairs, 8-aligned */
};

/* How one object refers to another, for a way from what keeps a leak alive to
 * an object it keeps. */
enum isan_edge {
    ISAN_EDGE_FIELD,                /* a pointer at `offset` bytes from the object's start */
    ISAN_EDGE_ITEM,                 /* of a list or tuple: `offset` is the index */
    ISAN_EDGE_KEY,                  /* a dictionary's or set's key, the offset-th entry */
    ISAN_EDGE_VALUE,                /* a dictionary's value; label: its key, if that is a str */
    ISAN_EDGE_ATTRIBUTE,            /* an instance's; label: its name */
    ISAN_EDGE_TYPE,                 /* ob_type */
    ISAN_EDGE_MEMORY,               /* somewhere in memory that the object points at */
};

/* One step of the way from leak `leak`'s keeper to a sample of what it keeps,
 * in order.  Step 0 is that from the object of another interpreter, where one
 * is the keeper; the next ones start at the leak's own sample.
 * text: type name of `from` ("": raw memory), of `to`, the edge's label, the C
 * name of the member of `from` if its type tells (PyMemberDef). */
struct isan_rec_step {
    struct isan_rec rec;
    uint32_t leak, position;
    struct isan_object from, to;
    uint32_t edge;                  /* enum isan_edge */
    uint32_t basicsize;             /* of from's type, bytes; 0: raw memory */
    uint64_t offset;
    uint64_t code;                  /* a function of from's type (tp_dealloc), to find its module by; 0 */
    char     text[];
};

/* What leak `leak` keeps alive, by type, most bytes first; the leak itself is
 * not counted.  text: type name ("": raw memory). */
struct isan_rec_kept {
    struct isan_rec rec;
    uint32_t leak, pad;
    uint64_t count, bytes;
    char     text[];
};

/* Why the garbage collector could not clear a cycle: index of kinds.inc's
 * ISAN_REASON table.  text: the type's name, the type name of what its member
 * refers to ("": the type itself, or none), the member's C name if the type
 * tells. */
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

/* The static of that finding or leak holds the object through memory: the way leads
 * through so many pieces of it, from one's word at this offset to the next. */
#define ISAN_HOPS 6
struct isan_rec_behind {
    struct isan_rec rec;
    uint32_t finding, hops;
    uint32_t at[ISAN_HOPS];         /* of the first ones */
};

/* Uses that would have been findings, but for the program's isan_ignore_begin().
 * text: the reason it gave. */
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
