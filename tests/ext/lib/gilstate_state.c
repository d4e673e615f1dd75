/* The library that gilstate_state.c is linked to: the same. */
#include "gilstate_callback.c"
