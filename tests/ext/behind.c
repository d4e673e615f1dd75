/* Statics that lead to objects through memory from malloc: a hash table, an array, a
 * list, a void *, a thread-local variable; and through memory from PyMem_*. */
#include <Python.h>
#include <stdlib.h>

#ifdef CLEARED
#define PyMem_RawCalloc calloc          /* belongs to no interpreter, so it is no leak */
#endif

struct entry {
    const char *key;
    PyObject *value;
};

static struct table {
    size_t size;
    struct entry **buckets;
} *table;

static PyObject **items;

struct hook {
    struct hook *next;
    PyObject *function;
};

static struct {
    int n;
    struct hook *first;
} hooks;

static void *handle;

static __thread struct entry *mine;

static struct {
    struct entry *rows;
} grid;

/* A list with its links inside the nodes: not an array of links. */
static struct link {
    struct link *next;
} *chain;

static struct part {
    struct link link;
    PyObject *of;
} *chained;

static PyObject **
place(Py_ssize_t which)
{
    if (table == NULL) {
        table = calloc(1, sizeof *table);
        table->buckets = calloc(8, sizeof *table->buckets);
        table->buckets[5] = calloc(1, sizeof **table->buckets);
        items = calloc(4, sizeof *items);
        hooks.first = calloc(1, sizeof *hooks.first);
        hooks.first->next = calloc(1, sizeof *hooks.first);
        handle = calloc(4, sizeof(PyObject *));
        grid.rows = PyMem_RawCalloc(3, sizeof *grid.rows);
        chained = calloc(1, sizeof *chained);
        chain = &chained->link;
        chained = NULL;
    }
    if (mine == NULL) {
        mine = calloc(1, sizeof *mine);
    }
    return which == 0 ? &table->buckets[5]->value : which == 1 ? &items[3] : which == 2 ? &hooks.first->next->function
        : which == 3 ? (PyObject **)handle + 2 : which == 4 ? &mine->value : which == 5 ? &grid.rows[2].value
        : which == 6 ? &((struct part *)chain)->of : NULL;
}

#define NAME behind
#include "holds.h"
