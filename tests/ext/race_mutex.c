/* The healthy twin of race_counter.c, race_list.c and race_buffer.c: a lock. */
#include <Python.h>
#include <pthread.h>
#include <threads.h>

struct node {
    struct node *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static mtx_t other;
static once_flag made = ONCE_FLAG_INIT;
static long counter;
static struct node *head;
static char buffer[32];

static void
make(void)
{
    mtx_init(&other, mtx_plain);
}

static void
step(PyObject *Py_UNUSED(module))
{
    struct node *node = malloc(sizeof *node);
    pthread_mutex_lock(&mutex);
    counter++;
    node->next = head;
    head = node;
    pthread_mutex_unlock(&mutex);
    call_once(&made, make);
    mtx_lock(&other);
    for (size_t i = 0; i < sizeof buffer - 1; i++) {
        buffer[i] = (char)('a' + i % 26);
    }
    if (strlen(buffer) != sizeof buffer - 1) {
        abort();
    }
    mtx_unlock(&other);
}

#define NAME race_mutex
#include "races.h"
