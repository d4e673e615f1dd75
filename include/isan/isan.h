/* isan/isan.h - ask isan, from C or C++.
 *
 *     #include <isan/isan.h>          (isan config --cflags prints where it is)
 *
 *     if (isan_look() > 0) ...        findings so far, after a look at the statics
 *
 * For authors of extensions and for programs that embed Python.  Nothing has to
 * be linked: what includes this runs as well where libisan.so is not loaded
 * (with isan run or LD_PRELOAD it is), and a call then costs one comparison
 * with NULL and gives -1.  It has nothing to do with isan/refcount.h: either
 * can be used without the other, before or after Python.h.
 *
 * Words: the owner of an object is the interpreter that created it.  A finding
 * is one kind of misuse in one place, however often it happens there, as
 * `isan report` lists them.
 *
 * But for isan_owned(), the functions take no lock of Python's and need no thread
 * state; any thread may call them at any time but from a signal handler.  They never fail in a
 * way that needs cleaning up, and set neither errno nor a Python exception.
 */
#ifndef ISAN_ISAN_H
#define ISAN_ISAN_H

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

/* Not 0: isan is loaded, in this process. */
#define isan_loaded()       (isan_findings != 0)

#define isan_look()         (isan_loaded() ? isan_look() : -1)
#define isan_owned()        (isan_loaded() ? isan_owned() : -1)
#define isan_findings()     (isan_loaded() ? isan_findings() : -1)
#define isan_owner(object)  (isan_loaded() ? isan_owner(object) : -1)

#ifdef __cplusplus
}
#endif

#endif
