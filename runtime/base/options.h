/* The options of ISAN_OPTIONS: options.inc is their table. */
#ifndef ISAN_BASE_OPTIONS_H
#define ISAN_BASE_OPTIONS_H

#include "runtime/base/os.h"

enum isan__statics_mode { ISAN__STATICS_look, ISAN__STATICS_watch };
enum isan__origin_mode { ISAN__ORIGIN_none, ISAN__ORIGIN_python, ISAN__ORIGIN_native };

struct isan__options {
#define ISAN_BOOL(name, dflt, help) bool name;
#define ISAN_NUM(name, dflt, min, max, help) long name;
#define ISAN_ENUM(name, dflt, choices, help) int name;
#define ISAN_STR(name, dflt, help) char name[1024];
#include "runtime/base/options.inc"
#undef ISAN_BOOL
#undef ISAN_NUM
#undef ISAN_ENUM
#undef ISAN_STR
};
extern struct isan__options isan__options;
void isan__options_init(void);              /* exits the process on a bad option */

/* ISAN_OPTIONS=verbosity=N: one line on stderr if N is at least `level`.
 * 1: start, modules, interpreters, walks; 2: what each walk found; 3: every finding. */
#define ISAN__TRACE(level, ...) \
    ((void)(ISAN__UNLIKELY(isan__options.verbosity >= (level)) && (isan__say(__VA_ARGS__), true)))

#endif
