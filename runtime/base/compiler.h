/* What every file of the recorder needs of the compiler. */
#ifndef ISAN_BASE_COMPILER_H
#define ISAN_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ISAN__LIKELY(x)   __builtin_expect(!!(x), 1)
#define ISAN__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ISAN__ALWAYS_INLINE static inline __attribute__((always_inline))
#define ISAN__PRINTF(string, first) __attribute__((format(printf, string, first)))

#endif
