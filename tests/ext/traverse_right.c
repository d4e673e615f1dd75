/* The healthy twin of traverse_wrong.c: the collector sees all objects that its
 * instances own. */
#define RIGHT 1
#define NAME "traverse_right"
#define INIT PyInit_traverse_right
#include "traverse_wrong.c"
