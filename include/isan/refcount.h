/* isan/refcount.h - the forced header: checks every reference-count operation.
 *
 *     cc -include isan/refcount.h ...        (isan config --cflags prints it)
 *
 * CPython's Py_INCREF and Py_DECREF, in all their variants, expand
 * _Py_INCREF_STAT_INC() and _Py_DECREF_STAT_INC() after the test for
 * immortality, with the object in a local called `op` (Include/object.h,
 * Include/refcount.h, Include/internal/pycore_object.h, Python/ceval.c).
 * Both macros come from Include/pystats.h.  This header defines the include
 * guard of that file, so that its own definitions stand.  Object layout and ABI
 * do not change: code built with this header can be mixed with code built
 * without it.
 *
 * It is included before everything else, so it must not include any header
 * of libc: the feature-test macros are not set yet.
 *
 * The runtime (libisan.so) need not be loaded.  The two variables below are
 * weak definitions, which those of the runtime or the executable replace.
 * Without the runtime a check costs one thread-local load and a branch that is
 * not taken.
 */
#if !defined(ISAN_REFCOUNT_H) && !defined(__ASSEMBLER__)
#define ISAN_REFCOUNT_H

#ifdef __cplusplus
extern "C" {
#endif

#define ISAN__EXPORT __attribute__((weak, visibility("default")))
/* Repeated on the definition: gcc drops the one on the declaration. */
#define ISAN__TLS __attribute__((tls_model("initial-exec")))
#define ISAN__INLINE static inline __attribute__((always_inline, unused))

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define ISAN__TSAN 1
#endif
#endif

/* Owner tags: one 32-bit word for each 16 bytes of address space, at
 * ISAN__SHADOW + address / 4.  The low 16 bits are the slot of the owning
 * interpreter (0: none).  runtime/core/shadow.h explains the other bits, and
 * runtime/core/shadow.c the choice of the place. */
#define ISAN__SHADOW 0x350000000000ull
#define ISAN__TAG(op) \
    ((unsigned int *)(ISAN__SHADOW + (((unsigned long)(op) >> 4) << 2)))
#define ISAN__OBJECT 0x40000000u    /* this granule starts a PyObject */

/* The runtime's functions for checks that need more than a comparison. */
struct isan__hooks {
    void (*incref)(const void *op);
    void (*decref)(void *op);
    void (*attribute)(const void *op);
    void (*create)(void *op);
    int  (*dealloc)(void *op);      /* non-zero: must not be deallocated here */
    void (*attach)(void *tstate);
    void (*detach)(void);
    void (*finalize)(void *tstate);
    int  (*enter)(int scope);       /* returns the argument for leave() */
    void (*leave)(int before);
    unsigned int (*serial)(const void *interp);     /* of an interpreter; 0: unknown */
    int  (*race)(const void *report);   /* a report of ThreadSanitizer; non-zero: isan reports it */
};

/* The slot of the interpreter this thread runs in; 0: do not check. */
extern __thread unsigned short isan__slot ISAN__EXPORT ISAN__TLS;
__thread unsigned short isan__slot ISAN__TLS = 0;

/* The runtime's hooks; NULL: not loaded. */
extern const struct isan__hooks *isan__hooks ISAN__EXPORT;
const struct isan__hooks *isan__hooks = 0;

/* Tags are read and written relaxed: an object that changes its owner at the
 * same time is a race in any case.  ThreadSanitizer must not see these accesses,
 * since it has no shadow for tags.  It does not instrument assembly.  (The
 * attribute no_sanitize has no effect here: these functions are always inlined.) */
ISAN__INLINE unsigned int
isan__get_tag(const void *op)
{
#ifdef ISAN__TSAN
    unsigned int word;
    __asm__ volatile("movl %1, %0" : "=r"(word) : "m"(*ISAN__TAG(op)));
    return word;
#else
    return *(const volatile unsigned int *)ISAN__TAG(op);
#endif
}

ISAN__INLINE void
isan__put_tag(const void *op, unsigned int word)
{
#ifdef ISAN__TSAN
    __asm__ volatile("movl %1, %0" : "=m"(*ISAN__TAG(op)) : "r"(word));
#else
    *ISAN__TAG(op) = word;
#endif
}

/* True if the current interpreter may not touch op. */
ISAN__INLINE int
isan__foreign(const void *op)
{
    unsigned short slot = isan__slot;
    if (slot == 0) {
        return 0;
    }
#ifdef ISAN__TSAN
    unsigned short tag = (unsigned short)isan__get_tag(op);
#else
    unsigned short tag = *(const volatile unsigned short *)ISAN__TAG(op);
#endif
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

/* Called at the entry of _Py_Dealloc (scripts/cpython/anchors.txt). */
ISAN__INLINE int
isan__check_dealloc(void *op)
{
    return isan__foreign(op) && isan__hooks->dealloc(op);
}

/* Called at the entry of new_reference (Objects/object.c).  A fresh block only
 * gets its mark.  A block that has the mark already comes from a free list. */
ISAN__INLINE void
isan__check_create(void *op)
{
    unsigned short slot = isan__slot;
    if (slot != 0) {
        unsigned int word = isan__get_tag(op);
        if (__builtin_expect((word & (ISAN__OBJECT | 0xffffu)) == slot, 1)) {
            isan__put_tag(op, word | ISAN__OBJECT);
        }
        else {
            isan__hooks->create(op);
        }
    }
}

/* A scope lasts from the entry of a function to its end.  In it, an interpreter
 * that shares the obmalloc of the main interpreter (and with it the interned
 * strings) uses objects of the main interpreter, as CPython means it to do.
 * Other interpreters have no scopes (0). */
enum {
    ISAN__NORMAL = 1,
    ISAN__INIT,                     /* an extension's PyInit function: checked as usual; native creation sites */
    ISAN__COPIES,                   /* copies objects of the main interpreter */
    ISAN__FOR_MAIN,                 /* works on the state of the main interpreter, in its place */
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

/* The rest of the function runs in this interpreter.  ThreadSanitizer remembers
 * the stack of each access.  A frame with an address that no code has marks the
 * interpreter in it (runtime/detect/race_tsan.c). */
#define ISAN__FRAME 0x400000000000ul
#ifdef ISAN__TSAN
extern void __tsan_func_entry(void *);
extern void __tsan_func_exit(void);
ISAN__INLINE int
isan__go_in(const void *interp)
{
    unsigned int serial = isan__hooks ? isan__hooks->serial(interp) : 0;
    if (serial != 0) {
        __tsan_func_entry((void *)(ISAN__FRAME + serial));
    }
    return serial != 0;
}
ISAN__INLINE void
isan__go_out(int *in)
{
    if (*in) {
        __tsan_func_exit();
    }
}
#define ISAN_WITHIN(interp) \
    __attribute__((cleanup(isan__go_out), unused)) int isan__in = isan__go_in(interp)
#else
#define ISAN_WITHIN(interp) ((void)0)
#endif

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
