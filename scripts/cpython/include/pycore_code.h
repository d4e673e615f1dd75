/* Overlay of CPython's Include/internal/pycore_code.h, found first on the
 * include path when CPython itself is built: the specialised attribute
 * instructions count their hits with STAT_INC once their guards have passed
 * (Python/bytecodes.c), with the object in a local called `owner`.  With
 * borrowed references (LOAD_FAST_BORROW, 3.14) nothing INCREFs it, so this is
 * where the evaluation loop's attribute access is checked. */
#include_next "pycore_code.h"

#ifdef _PY_INTERPRETER                  /* Python/ceval.c, before its includes */
#  if PY_VERSION_HEX >= 0x030e0000
#    include "pycore_stats.h"           /* where 3.14 moved STAT_INC */
#    include "pycore_stackref.h"
#    define ISAN__OWNER PyStackRef_AsPyObjectBorrow(owner)
#  else
#    define ISAN__OWNER owner
#  endif
#  define ISAN__LOAD_ATTR_hit  ~, isan__check_attribute(ISAN__OWNER)
#  define ISAN__STORE_ATTR_hit ~, isan__check_attribute(ISAN__OWNER)
/* Expands to the second argument: the check for the names above, ((void)0) for others. */
#  define ISAN__SECOND(first, second, ...) second
#  define ISAN__PICK(...) ISAN__SECOND(__VA_ARGS__)
#  undef STAT_INC
#  define STAT_INC(opname, name) \
    ISAN__PICK(ISAN__##opname##_##name, ((void)0), ~)
#endif
