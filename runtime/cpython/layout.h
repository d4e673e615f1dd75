/* The Python in this process: its symbols, and the layout of what isan reads of it. */
#ifndef ISAN_CPYTHON_LAYOUT_H
#define ISAN_CPYTHON_LAYOUT_H

#include "runtime/base/os.h"

struct isan__python {
    uint32_t hexversion;                    /* 0: none found */
    const char *runtime;                    /* &_PyRuntime */
    size_t runtime_size;
    const char *data;                       /* the segment that _PyRuntime is in, with all static types */
    size_t data_size;
    const char *text;                       /* the functions of the same module */
    size_t text_size;
    void *(*current)(void);                 /* the current thread state, or NULL */
    char *(*this_state)(void);              /* the thread state that PyGILState_Ensure attaches; NULL: it creates one */
    uint64_t (*state_id)(const char *);     /* of a thread state; an interpreter uses each number once */
    char *(*first_state)(const void *);     /* of an interpreter's thread states */
    intptr_t current_at;                    /* of the current thread state, from the thread pointer; 0: not known */
    uint16_t interp_id, interp_gil;
    uint16_t interp_finalizing;
    uint16_t ts_interp, ts_frame, ts_next;
    uint16_t ts_thread, ts_native;          /* pthread_self() and gettid() of its thread */
    uint16_t frame_previous, frame_executable, frame_instr, frame_owner;
    uint16_t code_filename, code_qualname, code_linetable, code_firstlineno, code_units;
    uint16_t type_name, type_flags;
    uint16_t bytes_size, bytes_data;
    uint16_t unicode_state, unicode_length, unicode_ascii;
#define ISAN__PYTHON_FACT(type, field, v311, v312, v313, v314) type field;
#include "runtime/cpython/releases.inc"
#define ISAN__PYTHON_TYPE(field, symbol) const void *field;
#include "runtime/cpython/types.inc"
};
extern struct isan__python isan__py;
extern bool isan__stock;                    /* built without isan's header and anchors */
/* Is the address in the writable data of the module that has the runtime? */
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
/* Is there a Python in what was loaded (dlopen's result; RTLD_DEFAULT at the start)? */
bool isan__python_in(void *handle);
bool isan__python_init(void);               /* false: it has said on stderr why */
/* The symbol's address; NULL: this Python does not have it.  Do not call it while the dynamic
 * linker's lock may be held, as within dl_iterate_phdr(): dlsym() takes another lock, which
 * dlopen() takes first (elf/dl-open.c). */
void *isan__python_symbol(const char *name);
bool isan__initialized(void);               /* Python is initialised, and not finalised */

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
    const void *to_bases[5], *bases, *mro, *cache, *subclasses, *weaklist, *to_finalize[2], *finalize;
};
#define ISAN__TP(field) offsetof(struct isan__type_object, field)
/* Include/object.h */
#define ISAN__TYPE_STATIC_BUILTIN (1ul << 1)    /* 3.12 and later */
#define ISAN__TYPE_INLINE_VALUES (1ul << 2)     /* 3.13 and later */
#define ISAN__TYPE_MANAGED_DICT  (1ul << 4)
#define ISAN__TYPE_HEAP          (1ul << 9)
#define ISAN__TYPE_READY         (1ul << 12)
#define ISAN__TYPE_HAVE_GC       (1ul << 14)
#define ISAN__TYPE_LIST          (1ul << 25)
#define ISAN__TYPE_TUPLE         (1ul << 26)
#define ISAN__TYPE_DICT          (1ul << 29)
#define ISAN__TYPE_TYPE          (1ul << 31)
static inline bool
isan__read_type(struct isan__type_object *to, const void *type)
{
    return type != NULL && isan__peek(to, type, sizeof *to);
}

/* Offsets and constants that are the same in all releases, in bytes. */
enum {
    /* Include/object.h: ob_refcnt has 8 bytes. */
    ISAN__OB_TYPE = 8, ISAN__OB_SIZE = 16, ISAN__OB_HEAD = 16,
    /* Include/internal/pycore_gc.h: PyGC_Head, which is before its object. */
    ISAN__GC_NEXT = -16, ISAN__GC_PREV = -8,
    ISAN__GC_PREV_FINALIZED = 1, ISAN__GC_LINK_MARKS = 3,
    /* Include/internal/pycore_object.h: the pointer to the managed dictionary, before its
     * object. */
    ISAN__MANAGED_DICT = -24,
    /* Include/cpython/listobject.h: PyListObject.ob_item. */
    ISAN__LIST_ITEMS = 24,
    /* Include/cpython/dictobject.h: PyDictObject. */
    ISAN__MA_KEYS = 32, ISAN__MA_VALUES = 40,
    /* Include/internal/pycore_dict.h: struct _dictkeysobject.  DK_INDICES is the size of what is
     * before the indices, which are before the entries; DK_SMALLEST that of the smallest table. */
    ISAN__DK_INDICES = 32, ISAN__DK_SMALLEST = 64, ISAN__DK_GENERAL = 0, ISAN__DK_SPLIT = 2,
    /* The same file: struct _dictvalues of 3.13 and later. */
    ISAN__VALUES_CAPACITY = 0, ISAN__VALUES_VALID = 3,
    /* Include/cpython/setobject.h: PySetObject.table and its smalltable, of setentry. */
    ISAN__SET_TABLE = 40, ISAN__SET_SMALL = 64, ISAN__SET_SMALL_END = 192, ISAN__SET_ENTRY = 16,
    /* Include/cpython/weakrefobject.h: wr_object, wr_prev, wr_next. */
    ISAN__WR_OBJECT = 16, ISAN__WR_PREV = 40, ISAN__WR_NEXT = 48,
    /* Include/cpython/longintrepr.h: _PyLongValue.lv_tag, ob_digit; the sign in the tag (3.12). */
    ISAN__LV_TAG = 16, ISAN__LV_DIGIT = 24, ISAN__LV_SIGN = 3, ISAN__LV_ZERO = 1, ISAN__LV_NEGATIVE = 2,
    /* Include/moduleobject.h: PyModuleDef_Base.m_copy, PyModuleDef.m_slots. */
    ISAN__M_COPY = 32, ISAN__M_SLOTS = 72,
    /* Include/cpython/modsupport.h: _PyArg_Parser.keywords. */
    ISAN__ARG_PARSER_KEYWORDS = 8,
    /* Include/cpython/descrobject.h, methodobject.h: PyDescrObject.d_type,
     * PyCFunctionObject.m_self. */
    ISAN__D_TYPE = 16, ISAN__M_SELF = 24,
    /* Include/cpython/unicodeobject.h: PyASCIIObject.state is interned:2, kind:3, compact:1,
     * ascii:1. */
    ISAN__STR_INTERNED = 3, ISAN__STR_INTERNED_IMMORTAL = 2,
};
/* Is it a word of a free list of this PyInterpreterState?  Its entries are deallocated objects, and old pointers. */
static inline bool
isan__is_free_list_entry(const char *interp, const char *word)
{
    return interp != NULL && (size_t)(word - interp) - isan__py.free_lists
        < (size_t)(isan__py.free_lists_end - isan__py.free_lists);
}

/* The type of an object that is readable. */
static inline const void *
isan__object_type(const void *op)
{
    return *(const void *const *)((const char *)op + ISAN__OB_TYPE);
}

#endif
