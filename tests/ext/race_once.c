/* Healthy: the table is made once, whoever is the first to need it. */
#include <pthread.h>
#include <stdlib.h>

static pthread_once_t made = PTHREAD_ONCE_INIT;
static char *table;

static void
make(void)
{
    table = calloc(100, 1);
}

static __attribute__((noinline)) long
once(void *module)
{
    (void)module;
    pthread_once(&made, make);
    return table != NULL;
}

#define NAME race_once
#include "race.h"
