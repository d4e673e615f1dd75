/* The healthy twin of cycle_unseen.c: its type takes part in garbage collection. */
#define SEEN
#define NAME "cycle_seen"
#define INIT PyInit_cycle_seen
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC)
#include "cycle_unseen.c"
