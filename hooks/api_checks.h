/* The table of the C API (hooks/api.inc), and what its wrappers check. */
#ifndef ISAN_HOOKS_API_CHECKS_H
#define ISAN_HOOKS_API_CHECKS_H

#include "runtime/base/compiler.h"

enum {
#define ISAN_API(name, arguments, result) ISAN__API_##name,
#define ISAN_API_SLOT(name, arguments, result) ISAN__API_##name,
#define ISAN_API_JUMP(name, arguments) ISAN__API_##name,
#define ISAN_API_LEFT_OUT(name, reason)
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP
    ISAN__API_ROWS
};

#define ISAN__HIDDEN __attribute__((visibility("hidden")))

/* An argument or a result, in a register. */
typedef uintptr_t isan__word;
typedef isan__word (*isan__function)(isan__word, isan__word, isan__word, isan__word, isan__word, isan__word);

/* The functions of the Python in this process.  NULL: it has none of that name. */
extern ISAN__HIDDEN isan__function isan__api_real[ISAN__API_ROWS];

struct isan__api_row {
    const char *name, *letters;             /* letters: of the arguments */
    char result;                            /* a letter; 0: ISAN_API_JUMP */
    bool calls_only;                        /* ISAN_API_SLOT */
};
extern ISAN__HIDDEN const struct isan__api_row isan__api_rows[ISAN__API_ROWS];

/* pc, below: where the extension goes on after its call. */

/* The extension uses the object, which may be another interpreter's. */
ISAN__HIDDEN void isan__api_check_object(isan__word op, int access, void *pc) __attribute__((noinline, cold));
/* Checks an argument before the call; `next` is the one after it.  True: the function must
 * not be called. */
ISAN__HIDDEN bool isan__api_check_argument(char letter, isan__word arg, isan__word next, int row, void *pc);
/* Checks the arguments, and calls the function. */
ISAN__HIDDEN isan__word isan__api_call_checked(isan__word a, isan__word b, isan__word c, isan__word d,
    isan__word e, isan__word f, int row, void *pc) __attribute__((noinline, cold));
/* The extension has called a function with this module definition.  made: the function has created
 * the module. */
ISAN__HIDDEN void isan__api_note_definition(const void *definition, bool made) __attribute__((noinline, cold));

#endif
