/* isan/refcount.h - the forced header: see every reference-count operation.
 *
 *     cc -include isan/refcount.h ...        (isan config --cflags prints it)
 *
 * CPython's Py_INCREF and Py_DECREF, in all their variants, expand
 * _Py_INCREF_STAT_INC() and _Py_DECREF_STAT_INC() after the test for
 * immortality, with the object in a local called `op` (Include/object.h,
 * Include/refcount.h, Include/internal/pycore_object.h, Python/ceval.c).
 * Both macros come from Include/pystats.h, whose include guard this header
 * defines, so that its own definitions stand.  Object layout and ABI do not
 * change: what is built with this header and what is not can be mixed.
 *
 * It is included before everything else, so it must not include any header
 * of libc: the feature-test macros are not set yet.
 *
 * The runtime (libisan.so) need not be there: the two variables below are
 * weak definitions that the runtime's own, or the executable's, take over.
 * Without it a check costs one thread-local load and a branch not taken.
 */
#if !defined(ISAN_REFCOUNT_H) && !defined(__ASSEMBLER__)
#define ISAN_REFCOUNT_H

#ifdef __cplusplus
extern "C" {
#endif

#define ISAN__EXPORT __attribute__((weak, visibility("default")))
#define ISAN__INLINE static inline __attribute__((always_inline, unused))

/* Owner tags: one 32-bit word for each 16 bytes of address space, at
 * ISAN__SHADOW + address / 4.  Its low 16 bits are the slot of the owning
 * interpreter (0: none), the rest is explained in runtime/owner.h. */
#define ISAN__SHADOW 0x200000000000ull
#define ISAN__TAG(op) \
    ((unsigned int *)(ISAN__SHADOW + (((unsigned long)(op) >> 4) << 2)))
#define ISAN__OBJECT 0x40000000u    /* this granule starts a PyObject */

/* What the runtime does when a check needs more than a comparison. */
struct isan__hooks {
    void (*incref)(const void *op);
    void (*decref)(void *op);
    void (*attribute)(const void *op);
    void (*create)(void *op);
    int  (*dealloc)(void *op);      /* non-zero: must not be deallocated here */
    void (*attach)(void *tstate);
    void (*detach)(void);
    void (*finalize)(void *tstate);
    int  (*enter)(int scope);       /* what to give leave() */
    void (*leave)(int before);
};

/* The slot of the interpreter this thread runs in; 0: do not check. */
extern __thread unsigned short isan__slot ISAN__EXPORT
    __attribute__((tls_model("initial-exec")));
__thread unsigned short isan__slot = 0;

/* The runtime's hooks; NULL: not loaded. */
extern const struct isan__hooks *isan__hooks ISAN__EXPORT;
const struct isan__hooks *isan__hooks = 0;

/* True if the current interpreter may not touch op.  The word is read
 * relaxed: an object that changes owner meanwhile is a race anyway. */
ISAN__INLINE int
isan__foreign(const void *op)
{
    unsigned short slot = isan__slot;
    if (slot == 0) {
        return 0;
    }
    unsigned short tag = *(const volatile unsigned short *)ISAN__TAG(op);
    return __builtin_expect(tag != slot, 0) && tag != 0;
}

ISAN__INLINE void
isan__check_incref(const void *op)
{
    if (isan__foreign(op)) {
        isan__hooks->incref(op);
    }
}

ISAN__INLINE void
isan__check_decref(void *op)
{
    if (isan__foreign(op)) {
        isan__hooks->decref(op);
    }
}

ISAN__INLINE void
isan__check_attribute(const void *op)
{
    if (isan__foreign(op)) {
        isan__hooks->attribute(op);
    }
}

/* Called by the edit of _Py_Dealloc (hooks/anchors.txt). */
ISAN__INLINE int
isan__check_dealloc(void *op)
{
    return isan__foreign(op) && isan__hooks->dealloc(op);
}

/* Called by the edit of new_reference (Objects/object.c).  A fresh block
 * only gets its mark; one that had it comes from a free list. */
ISAN__INLINE void
isan__check_create(void *op)
{
    unsigned short slot = isan__slot;
    if (slot != 0) {
        unsigned int word = *ISAN__TAG(op);
        if (__builtin_expect((word & (ISAN__OBJECT | 0xffffu)) == slot, 1)) {
            *ISAN__TAG(op) = word | ISAN__OBJECT;
        }
        else {
            isan__hooks->create(op);
        }
    }
}

/* Scopes, to the end of the function that has one at its entry: in them an
 * interpreter that shares the main interpreter's obmalloc (and with it its
 * interned strings) does what CPython means it to do.  0 in others. */
enum {
    ISAN__NORMAL = 1,
    ISAN__INIT,                     /* an extension's PyInit function: nothing special, but told apart */
    ISAN__COPIES,                   /* copies objects of the main interpreter's */
    ISAN__FOR_MAIN,                 /* works on the main interpreter's state, as it */
};

ISAN__INLINE void
isan__leave(int *before)
{
    if (*before) {
        isan__hooks->leave(*before);
    }
}
#define ISAN_SCOPE(scope, condition)                                    \
    __attribute__((cleanup(isan__leave), unused)) int isan__before =    \
        (condition) && isan__hooks ? isan__hooks->enter(scope) : 0

#define ISAN_ATTRIBUTE(op) isan__check_attribute(op)
#define ISAN_CREATE(op)    isan__check_create(op)
#define ISAN_DEALLOC(op)   do { if (isan__check_dealloc(op)) return; } while (0)
#define ISAN_ATTACH(ts)    do { if (isan__hooks) isan__hooks->attach(ts); } while (0)
#define ISAN_DETACH()      do { if (isan__hooks) isan__hooks->detach(); } while (0)
#define ISAN_FINALIZE(ts)  do { if (isan__hooks) isan__hooks->finalize(ts); } while (0)

/* Include/pystats.h */
#define Py_PYSTATS_H
#define _Py_INCREF_STAT_INC() isan__check_incref(op)
#define _Py_DECREF_STAT_INC() isan__check_decref(op)
#define _Py_INCREF_IMMORTAL_STAT_INC() ((void)0)
#define _Py_DECREF_IMMORTAL_STAT_INC() ((void)0)

#ifdef __cplusplus
}
#endif
#endif
