/* Interpreters insert nodes at the head of one linked list. */
#include <Python.h>

struct node {
    struct node *next;
};

static struct node *head;

__attribute__((noinline)) static void
step(PyObject *Py_UNUSED(module))
{
    struct node *node = malloc(sizeof *node);
    node->next = head;
    head = node;
}

#define NAME race_list
#include "races.h"
