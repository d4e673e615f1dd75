/* A C library without Python: it calls back from a thread of its own, once for
 * each registration. */
#include <pthread.h>
#include <stdlib.h>

typedef void callback_function(void *arg);

void callback_register(callback_function *function, void *arg);
void callback_wait(void);

static pthread_t last;
static int running;
struct registration {
    callback_function *function;
    void *arg;
};

static void *
call_back(void *arg)
{
    struct registration registration = *(struct registration *)arg;
    free(arg);
    registration.function(registration.arg);
    return NULL;
}

void
callback_register(callback_function *function, void *arg)
{
    struct registration *registration = malloc(sizeof *registration);
    if (registration == NULL) {
        abort();
    }
    *registration = (struct registration){ function, arg };
    if (pthread_create(&last, NULL, call_back, registration) != 0) {
        abort();
    }
    running = 1;
}

void
callback_wait(void)
{
    if (running) {
        running = 0;
        pthread_join(last, NULL);
    }
}
