/* The healthy twin of keepers.c: what is taken is given back, the list is in
 * module state. */
#define CLEAN
#include "keepers.c"
