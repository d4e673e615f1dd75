/* Healthy: a mutex guards the counter. */
#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;

static __attribute__((noinline)) long
once(void *module)
{
    (void)module;
    pthread_mutex_lock(&mutex);
    long result = ++counter;
    pthread_mutex_unlock(&mutex);
    return result;
}

#define NAME race_mutex
#include "race.h"
