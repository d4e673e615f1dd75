/* The Python in this process: its symbols, and the layout of what isan reads of it. */
#ifndef ISAN_CPYTHON_LAYOUT_H
#define ISAN_CPYTHON_LAYOUT_H

#include "runtime/base/os.h"

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
#include "runtime/cpython/types.inc"
};
extern struct isan__python isan__py;
extern bool isan__stock;                    /* built without isan's header and anchors */
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

/* Offsets that are the same in all releases: Include/object.h, and in Include/cpython
 * listobject.h, dictobject.h, weakrefobject.h. */
enum {
    ISAN__OB_TYPE = 8, ISAN__OB_SIZE = 16,
    ISAN__LIST_ITEMS = 24,                  /* PyListObject.ob_item */
    ISAN__MA_KEYS = 32, ISAN__MA_VALUES = 40,   /* PyDictObject */
    ISAN__WR_OBJECT = 16, ISAN__WR_PREV = 40, ISAN__WR_NEXT = 48,   /* PyWeakReference */
};

#endif
