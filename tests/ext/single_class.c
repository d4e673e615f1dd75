/* Single-phase initialisation: the runtime gives every interpreter that shares
 * the GIL the exception class of the first one.
 *
 * Bug: another interpreter uses it.  single_parts.c is the healthy twin. */
#define NAME "single_class"
#define INIT PyInit_single_class
#define CLASS "single_class.error"
#include "single_parts.c"
