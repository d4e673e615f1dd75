/* Bug: all interpreters write their text into one buffer. */
#include <stdio.h>

static struct { int uses; char text[64]; } buffer;

static __attribute__((noinline)) long
once(void *module)
{
    return snprintf(buffer.text, sizeof buffer.text, "%p", module) > 0;
}

#define NAME race_buffer
#include "race.h"
