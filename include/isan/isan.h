/* isan/isan.h: query isan, and tell it what it cannot know, from C and C++.
 *
 *     #include <isan/isan.h>          (isan config --cflags prints where it is)
 *
 *     if (isan_look() > 0) ...        findings so far, after a look at the statics
 *
 * For authors of extensions and for programs that embed Python.  Nothing has to
 * be linked.  Where libisan.so is not loaded (isan run and LD_PRELOAD load it), a
 * call costs one comparison with NULL and returns -1.  The Python module `isan`
 * has the same functions.  isan/refcount.h is independent of this header: use
 * either without the other, before or after Python.h.
 *
 * Words: the owner of an object is the interpreter that created it.  A finding
 * is one kind of misuse at one place, however often it happens there, as
 * `isan report` lists it.
 *
 * Except isan_owned() and isan_off_finding(), the functions take no lock of
 * Python's and need no thread state.  Any thread may call them at any time, but
 * not from a signal handler.  No failure needs cleaning up, and none sets errno
 * or a Python exception.
 */
#ifndef ISAN_ISAN_H
#define ISAN_ISAN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* noplt: call through the global offset table.  Otherwise the linker of a program
 * that is not a PIE resolves a weak function that is missing at link time to NULL
 * for good.  clang does not know the attribute; give it -fno-plt. */
#if __has_attribute(noplt)
#define ISAN__WEAK __attribute__((weak, noplt, visibility("default")))
#else
#define ISAN__WEAK __attribute__((weak, visibility("default")))
#endif

/* Look now at the static variables of the extensions that are in use: which of
 * them hold an object of one interpreter where another can reach it?  isan does
 * this by itself when an extension is imported and when an interpreter ends.  Each
 * new one becomes a `static` finding, in the log at once.  Leaks need no look:
 * isan logs them when their interpreter ends.
 *
 * It reads every writable byte of those extensions: about a millisecond for a
 * megabyte.
 *
 * Returns what isan_findings() does. */
ISAN__WEAK int isan_look(void);

/* Record now all objects and raw memory of the interpreters that share the GIL
 * which the calling thread holds, grouped by retainer (what keeps them alive).
 * What an interpreter keeps alive itself is one sum.  What only a C static, an
 * object of another interpreter or a cycle of garbage keeps alive is listed as a
 * leak is at an interpreter's end.  `isan report` shows the last record of each
 * interpreter.  Nothing in it is a finding: a cache that is cleared in time looks
 * the same.  A reference or memory that was never given back counts as the
 * interpreter's own until that ends, since C code may still need it.
 *
 * It calls tp_traverse, to say why the garbage collector cannot clear a cycle: call
 * it only where the collector could run.  It takes about a second for 100 MB of
 * objects.
 *
 * Returns the number of blocks, objects and raw memory, that the interpreters
 * own; -1: isan is not loaded, the thread has no GIL, or /proc/self/maps cannot
 * be read, which is no error. */
ISAN__WEAK long long isan_owned(void);

/* The number of findings of this process so far.  Those of its parent and of its
 * forked children do not count.  -1: there is no log, because isan or Python is
 * not loaded, or the process is at its end.
 *
 * It is at least what `isan report` shows: the report takes off what suppressions
 * name, and what an empty interpreter of the same Python leaves behind, too. */
ISAN__WEAK int isan_findings(void);

/* The id, as PyInterpreterState_GetID() gives it, of the interpreter that owns
 * the object, running or ended.  -1: the object has no owner (a static object,
 * immortal ones such as None among them, or memory that is not Python's), its owner
 * ended too long ago, or isan is not loaded.
 *
 * `object` is a PyObject * or memory from PyObject_Malloc, PyMem_Malloc or
 * PyMem_RawMalloc.  It is not dereferenced. */
ISAN__WEAK long long isan_owner(const void *object);

/* The path of this process's log, for `isan report`: absolute, NUL-terminated, cut
 * to `size` bytes.  Returns its length, as snprintf(3) does; -1: there is no such
 * file, because there is no log_path in ISAN_OPTIONS, isan or Python is not loaded,
 * the process is at its end, or it was forked and has recorded nothing yet. */
ISAN__WEAK int isan_log(char *path, size_t size);

/* --- What a program declares --------------------------------------------------------- */

/* From now on the object belongs to the interpreter that the calling thread is
 * in, and no other may use it.  The new owner calls this when it receives the
 * object, before any other use, while no other interpreter uses it.
 *
 * The owner changes of the object's block of memory, and of what the object alone
 * uses: the array of a list, the table of a dict, an instance's dictionary.  What
 * it refers to keeps its owner: items, keys, values, attributes, its type.  An
 * object that the garbage collector tracks stays in the lists of the interpreter
 * that created it: call PyObject_GC_UnTrack() there first.
 *
 * The memory itself does not always go along.  Since 3.12 an interpreter with a
 * GIL of its own has an allocator of its own (PyInterpreterConfig.use_main_obmalloc,
 * PEP 684), and what PyObject_Malloc() and PyMem_Malloc() took from it must return
 * to it.  So let the interpreter that created the object call isan_transfer() again
 * and free the object, before it ends.  If another interpreter frees or resizes
 * it, that is a `free` finding.  When the interpreter that created it ends, the
 * transfer is over: the object is a leak of that interpreter, and its use is
 * `stale`.  Memory from PyMem_RawMalloc(), and that of interpreters that share an
 * allocator (legacy ones and the main one), changes owner altogether.
 *
 * Returns 0: the new owner can free it; 1: only the interpreter that created it
 * can; -1: nothing was changed, because isan is not loaded or knows no owner of the
 * object (isan_owner()), the thread is in no interpreter, or the interpreter that
 * created the object has ended. */
ISAN__WEAK int isan_transfer(const void *object);

/* From now on any interpreter may use the object and what it alone uses (see
 * isan_transfer()), and statics may hold it, without a `share`, `stale` or `static`
 * finding.  The program vouches that a lock or the object's nature makes this safe.
 * Reference counts are not atomic, so the lock must cover references, too.  Only
 * freeing the object ends this.
 *
 * If another interpreter than the owner frees it, that is a `free` finding; if it
 * is left when the owner ends, it is a `leak`.  Memory from PyMem_RawMalloc() is
 * the process's: any interpreter may free it, and it may stay.
 *
 * Returns 0; -1: nothing was changed, because isan is not loaded or knows no owner. */
ISAN__WEAK int isan_share(const void *object);

/* Between the two, no use by the calling thread is a finding.  This is for what is
 * known and accepted; the report gives each reason, and how many uses it covered.
 * The scopes nest.  `reason` must stay valid until isan_ignore_end().  That does
 * nothing without an isan_ignore_begin() of the same thread.
 *
 * All else stays as it is.  isan still refuses to free what another interpreter
 * must free.  The next look outside the scope finds what only a look finds (statics,
 * counts of immortal objects).  An interpreter that ends within the scope gets no
 * leak report. */
ISAN__WEAK void isan_ignore_begin(const char *reason);
ISAN__WEAK void isan_ignore_end(void);

/* --- Each finding ---------------------------------------------------------------------- */

struct isan_finding {
    size_t size;                    /* set it to sizeof(struct isan_finding); isan fills in the fields it knows */
    int number;                     /* 1 for the process's first finding, as isan_findings() counts */
    const char *kind, *access;      /* the words of the JSON of `isan report`; the strings stay valid */
    long long owner, current;       /* ids of the interpreters that own and use the object; -1: none */
    const void *object;             /* its address; the object may be gone */
    const void *variable;           /* address of the static that holds it, for dladdr(3); NULL: none found */
    unsigned long long count;       /* how often it has happened; of a leak: its objects */
    char type[128];                 /* type of the object; of a `gilstate` the function called; "": raw memory */
};

/* What is known of finding `number` of this process, 1 to isan_findings().  It reads
 * the log up to that finding.  Returns 0; -1: there is no such finding. */
ISAN__WEAK int isan_get_finding(int number, struct isan_finding *finding);

/* Call callback(number, data) for each finding from now on, in the order of the
 * numbers, soon after the finding was made.  Each registration has a thread of
 * isan's own for its calls, with all signals blocked and without a Python thread
 * state; the callback may create one, as any thread can.
 *
 * isan_off_finding() ends a registration.  It returns once the callback has been
 * called for all findings so far and runs no more (within the callback: at once).
 * So hold nothing that the callback waits for, such as a GIL.  Call it before the
 * callback's module or data go away.  Without it, the callback is not called for
 * findings at the end of the process.  A forked child has no callbacks: register
 * again.
 *
 * Both return 0; -1: isan is not loaded, there is no log, 16 are registered already
 * (isan_on_finding), or this one is not registered (isan_off_finding). */
typedef void isan_callback(int number, void *data);
ISAN__WEAK int isan_on_finding(isan_callback *callback, void *data);
ISAN__WEAK int isan_off_finding(isan_callback *callback, void *data);

/* Not 0: isan is loaded in this process. */
#define isan_loaded()       (isan_findings != 0)

#define isan_look()         (isan_loaded() ? isan_look() : -1)
#define isan_owned()        (isan_loaded() ? isan_owned() : -1)
#define isan_findings()     (isan_loaded() ? isan_findings() : -1)
#define isan_owner(object)  (isan_loaded() ? isan_owner(object) : -1)
#define isan_log(path, size)    (isan_loaded() ? isan_log(path, size) : -1)
#define isan_transfer(object)   (isan_loaded() ? isan_transfer(object) : -1)
#define isan_share(object)      (isan_loaded() ? isan_share(object) : -1)
#define isan_ignore_begin(reason)   (isan_loaded() ? isan_ignore_begin(reason) : (void)(reason))
#define isan_ignore_end()       (isan_loaded() ? isan_ignore_end() : (void)0)
#define isan_get_finding(number, finding)   (isan_loaded() ? isan_get_finding(number, finding) : -1)
#define isan_on_finding(callback, data)     (isan_loaded() ? isan_on_finding(callback, data) : -1)
#define isan_off_finding(callback, data)    (isan_loaded() ? isan_off_finding(callback, data) : -1)

#ifdef __cplusplus
}
#endif

#endif
