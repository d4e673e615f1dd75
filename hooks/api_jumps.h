/* Wrappers that jump to the function they wrap (ISAN_API_JUMP of hooks/api.inc). */
#ifndef ISAN_HOOKS_API_JUMPS_H
#define ISAN_HOOKS_API_JUMPS_H

#include "hooks/api_checks.h"

#define ISAN_API(name, arguments, result)
#define ISAN_API_SLOT(name, arguments, result)
#define ISAN_API_JUMP(name, arguments) \
    ISAN__HIDDEN isan__word isan__jump_##name(isan__word, isan__word, isan__word, isan__word, isan__word, isan__word);
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP

#endif
