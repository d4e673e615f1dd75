/* The hooks of the arena allocator (PyObject_SetArenaAllocator).  pymalloc takes its blocks from
 * arenas (Objects/obmalloc.c, new_arena).
 *
 * An interpreter with an obmalloc of its own leaves its arenas for good if it ends with a
 * block still allocated.  In a release build it always does (interned strings).  Nothing is
 * allocated from its arenas any more.  When the quarantine holds none of their blocks, isan
 * frees the arenas without a block, and the pages of their shadow without a tag.
 */
#include "hooks/arena.h"

#include "runtime/core/interp.h"
#include "runtime/core/shadow.h"
#include "runtime/core/thread.h"
#include "runtime/cpython/layout.h"

/* Include/cpython/objimpl.h */
typedef struct {
    void *ctx;
    void *(*alloc)(void *ctx, size_t size);
    void (*free)(void *ctx, void *arena, size_t size);
} allocator;

static allocator real;

/* The arenas of interpreters with an obmalloc of their own. */
enum { FIRST_SIZE = 512 };
static struct arena {
    char *start;
    size_t size;
    uint32_t serial;                        /* of the interpreter */
} *arenas;
static size_t n, room;
static struct isan__lock lock = { .rank = ISAN__RANK_ARENAS };

/* Without memory for an entry the arena stays after its interpreter, as it does without isan. */
static void
add_arena(struct arena a)
{
    isan__lock(&lock);
    if (n < room || isan__grow(&arenas, &room, FIRST_SIZE, sizeof *arenas)) {
        arenas[n++] = a;
    }
    isan__unlock(&lock);
}

static void *
allocate_arena(void *ctx, size_t size)
{
    (void)ctx;
    void *p = real.alloc(real.ctx, size);
    const struct isan__interp *i = isan__interp_of(isan__self.slot);
    if (p != NULL && i->serial != 0 && !i->shares_main) {
        add_arena((struct arena){ p, size, i->serial });
    }
    return p;
}

static void
free_arena(void *ctx, void *start, size_t size)
{
    (void)ctx;
    isan__lock(&lock);
    for (size_t i = 0; i < n; i++) {
        if (arenas[i].start == start) {
            arenas[i] = arenas[--n];
            break;
        }
    }
    isan__unlock(&lock);
    isan__shadow_release(start, size);
    real.free(real.ctx, start, size);
}

void
isan__arenas_install(void)
{
    void (*get)(allocator *) = (void (*)(allocator *))isan__python_symbol("PyObject_GetArenaAllocator");
    void (*set)(allocator *) = (void (*)(allocator *))isan__python_symbol("PyObject_SetArenaAllocator");
    allocator now, ours = { NULL, allocate_arena, free_arena };
    get(&now);
    if (now.alloc != allocate_arena) {
        real = now;
        set(&ours);
    }
}

void
isan__arenas_of_ended(uint32_t serial)
{
    isan__lock(&lock);
    for (size_t i = 0; i < n;) {
        if (arenas[i].serial != serial) {
            i++;
            continue;
        }
        struct arena a = arenas[i];
        arenas[i] = arenas[--n];
        isan__unlock(&lock);
        if (isan__shadow_trim(a.start, a.size)) {
            real.free(real.ctx, a.start, a.size);
        }
        isan__lock(&lock);
        i = 0;                              /* other threads may have changed the list */
    }
    isan__unlock(&lock);
}
