/* Bug: a list in a C static is in the modules of all interpreters.
 * multi_parts.c is the healthy twin. */
#define NAME "multi_kept"
#define INIT PyInit_multi_kept
#define KEPT
#include "multi_parts.c"
