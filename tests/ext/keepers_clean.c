/* The healthy twin of keepers.c: it drops each reference that it takes, and has
 * the list in module state. */
#define CLEAN
#include "keepers.c"
