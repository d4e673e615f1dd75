/* The healthy twin of race_counter.c and race_list.c: atomics. */
#include <Python.h>
#include <stdatomic.h>

struct node {
    struct node *next;
};

static atomic_long counter;
static _Atomic(struct node *) head;

static void
step(PyObject *Py_UNUSED(module))
{
    struct node *node = malloc(sizeof *node);
    atomic_fetch_add(&counter, 1);
    node->next = atomic_load(&head);
    while (!atomic_compare_exchange_weak(&head, &node->next, node)) {
    }
}

#define NAME race_atomic
#include "races.h"
