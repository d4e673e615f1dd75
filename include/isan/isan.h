/* isan/isan.h - ask isan, and tell it what it cannot know, from C or C++.
 *
 *     #include <isan/isan.h>          (isan config --cflags prints where it is)
 *
 *     if (isan_look() > 0) ...        findings so far, after a look at the statics
 *
 * For authors of extensions and for programs that embed Python.  Nothing has to
 * be linked: what includes this runs as well where libisan.so is not loaded
 * (with isan run or LD_PRELOAD it is), and a call then costs one comparison
 * with NULL and gives -1.  The Python module `isan` has the same.  It has nothing to do with isan/refcount.h: either
 * can be used without the other, before or after Python.h.
 *
 * Words: the owner of an object is the interpreter that created it.  A finding
 * is one kind of misuse in one place, however often it happens there, as
 * `isan report` lists them.
 *
 * But for isan_owned() and isan_off_finding(), the functions take no lock of Python's and need no thread
 * state; any thread may call them at any time but from a signal handler.  They never fail in a
 * way that needs cleaning up, and set neither errno nor a Python exception.
 */
#ifndef ISAN_ISAN_H
#define ISAN_ISAN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Called through the global offset table, so that a program that is no PIE finds
 * them, too: otherwise its linker takes what is not there then for NULL forever.
 * clang, which does not know the attribute, is told so with -fno-plt. */
#if __has_attribute(noplt)
#define ISAN__WEAK __attribute__((weak, noplt, visibility("default")))
#else
#define ISAN__WEAK __attribute__((weak, visibility("default")))
#endif

/* Look now at what is otherwise looked at when an extension is imported and
 * when an interpreter ends: the static variables of the extensions that are in
 * use, and which of them hold an object of one interpreter where another can
 * reach it.  What is new becomes a `static` finding, at once in the log.  What
 * interpreters have left behind needs no look: it is in the log from their end on.
 *
 * It reads every writable byte of those extensions: about a millisecond for a
 * megabyte.
 *
 * Returns what isan_findings() does. */
ISAN__WEAK int isan_look(void);

/* Record now, by what keeps it alive, all that the interpreters own whose GIL
 * the calling thread holds: objects and raw memory; what each interpreter keeps
 * itself, as one sum; and what only a C static, an object of another interpreter
 * or a cycle of garbage keeps, as leaks are told at an interpreter's end.
 * `isan report` shows what the last call found of each interpreter.  Nothing of
 * it is a finding: a cache that is cleared in time looks the same.  A reference
 * or memory that was never given back is counted as the interpreter's own, since
 * C code may still need it: that is told apart only at the interpreter's end.
 *
 * To say why the garbage collector cannot clear a cycle, tp_traverse is called,
 * so call this only where the collector could run.  It takes about a second for 100
 * MB of objects.
 *
 * Returns the number of blocks, objects and raw memory, that they own; -1: isan
 * is not loaded, or the thread has no GIL, which is no error. */
ISAN__WEAK long long isan_owned(void);

/* The number of findings of this process so far, those of processes that it was
 * forked from or has forked not counted; -1: there is no log, because isan is
 * not loaded, or no Python is, or the process is at its end.
 *
 * It may be more than `isan report` shows, never less: suppressions and what an
 * empty interpreter of the same Python leaves behind too are taken off there. */
ISAN__WEAK int isan_findings(void);

/* The id, as PyInterpreterState_GetID() gives it, of the interpreter that owns
 * the object, be it living or not.  -1: none, as with objects that are static,
 * immortal ones such as None among them, or memory that is not Python's; isan
 * not loaded; or an interpreter that ended too long ago.
 *
 * `object` is a PyObject * or memory from PyObject_Malloc, PyMem_Malloc or
 * PyMem_RawMalloc.  It is not dereferenced. */
ISAN__WEAK long long isan_owner(const void *object);

/* The path of this process's log, absolute and NUL-terminated, cut to `size`
 * bytes, for `isan report`.  Returns its length, as snprintf(3) does; -1: there is
 * none, because isan is not loaded, or no Python is, or the process is at its end,
 * or it was forked and has nothing to say yet. */
ISAN__WEAK int isan_log(char *path, size_t size);

/* --- What a program declares --------------------------------------------------------- */

/* From now on the object belongs to the interpreter that the calling thread is
 * in: that one may use it, and no other.  Call it where the new owner gets it,
 * before it does anything else with it, while nobody else uses it.
 *
 * What changes owner is the block of memory that the object is in, and what only
 * it uses: the array of a list, the table of a dict, an instance's dictionary.
 * What it refers to does not: items, keys, values, attributes, its type.  An object
 * that the garbage collector tracks stays in the lists of the interpreter that
 * created it, whatever is declared: PyObject_GC_UnTrack() it there first.
 *
 * Memory is not given away by that.  From 3.12 on PyObject_Malloc() and
 * PyMem_Malloc() take it from an allocator that interpreters with a GIL of their
 * own have for themselves (PyInterpreterConfig.use_main_obmalloc, PEP 684), and
 * that must get it back: let the interpreter that created the object call
 * isan_transfer() again, free it there, and do so before it ends.  Freed or
 * resized by another, it is a `free` finding as ever; at the end of the
 * interpreter whose memory it is the transfer is over, the object its leak, and
 * its use `stale`.  Memory from PyMem_RawMalloc(), and all of interpreters
 * that share an allocator (legacy ones and the main one), is given away whole.
 *
 * Returns 0: it can be freed by its new owner; 1: only by the interpreter whose
 * memory it is; -1: nothing was changed, because isan is not loaded or knows no
 * owner of it (isan_owner()), the thread is in no interpreter, or the one whose
 * memory it is has ended. */
ISAN__WEAK int isan_transfer(const void *object);

/* From now on any interpreter may use the object and what only it uses (see
 * isan_transfer()), and statics may hold it: no `share`, `stale` or `static` finding
 * is made of that.  isan takes the program's word that a lock, or the
 * object's nature, makes it safe: reference counts are not atomic, so the references
 * need the lock, too.  There is no way back but to free it.
 *
 * Freed by another interpreter than its owner it is a `free` finding, and left
 * when the owner ends, a `leak`; not so memory from PyMem_RawMalloc(), which is
 * the process's and may stay.
 *
 * Returns 0; -1: nothing was changed, because isan is not loaded or knows no owner. */
ISAN__WEAK int isan_share(const void *object);

/* Between the two, no use by the calling thread is a finding: for what is known
 * and accepted, with the reason, which the report gives with how often it was
 * needed.  They nest.  `reason` must stay until isan_ignore_end(), which does nothing
 * without an isan_ignore_begin() of the same thread.
 *
 * Nothing else changes: what another interpreter may not free is kept from being
 * freed.  What is found by looking (statics, counts of immortal objects) is found
 * by the next look outside.  An interpreter that ends within the scope
 * is not asked what it leaves behind. */
ISAN__WEAK void isan_ignore_begin(const char *reason);
ISAN__WEAK void isan_ignore_end(void);

/* --- Each finding ---------------------------------------------------------------------- */

struct isan_finding {
    size_t size;                    /* give sizeof(struct isan_finding); what isan has of it is filled in */
    int number;                     /* isan_findings() after it: the first is 1 */
    const char *kind, *access;      /* as in the JSON of `isan report`; they stay */
    long long owner, current;       /* ids of interpreters: the object's, the user's; -1: none */
    const void *object;             /* its address; it may be gone */
    const void *variable;           /* the static that holds it, for dladdr(3); NULL: none found */
    unsigned long long count;       /* how often so far; of a leak: objects */
    char type[128];                 /* the object's; of a `gilstate` the function called; "": raw memory */
};

/* What is known of finding `number` of this process, 1 to isan_findings().  Returns 0,
 * -1: there is none.  It reads the log up to there. */
ISAN__WEAK int isan_get_finding(int number, struct isan_finding *finding);

/* Call callback(number, data) for each finding from now on, in the order of the
 * numbers, in a thread of isan's own for each registration: not where it is made
 * but soon after, with all signals blocked and no thread state of Python's, which the
 * callback may make as any thread can.
 *
 * isan_off_finding() ends that.  It returns when the callback has been called for all
 * so far and does not run any more (called in the callback itself: at once), so do not
 * hold what the callback waits for, such as a GIL.  Call it before the callback's
 * module or data go; without it, what is found at the end of the process is not told.
 * A forked child has no callbacks: register again.
 *
 * Both return 0; -1: isan is not loaded, there is no log, 16 are registered already, or
 * this is not. */
typedef void isan_callback(int number, void *data);
ISAN__WEAK int isan_on_finding(isan_callback *callback, void *data);
ISAN__WEAK int isan_off_finding(isan_callback *callback, void *data);

/* Not 0: isan is loaded, in this process. */
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
