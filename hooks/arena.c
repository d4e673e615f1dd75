/* Arenas, from which pymalloc cuts its blocks (Objects/obmalloc.c, new_arena;
 * PyObject_SetArenaAllocator).
 *
 * An interpreter with an obmalloc of its own leaves its arenas for good if it ends with a
 * block still allocated.  In a release build it always does (interned strings).  Its
 * arenas are not allocated from any more.  When the quarantine holds none of their blocks,
 * isan gives back the pages of tags without a tag, and the arenas without a block.
 */
#include "hooks/arena.h"

#include "runtime/base/lock.h"
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

static void
remember(struct arena a)
{
    isan__lock(&lock);
    if (n == room) {
        size_t bigger = room ? 2 * room : FIRST_SIZE;
        struct arena *to = isan__map(bigger * sizeof *to);
        if (to == NULL) {
            isan__unlock(&lock);
            return;                         /* the arena stays, as it does without isan */
        }
        if (n > 0) {
            memcpy(to, arenas, n * sizeof *to);
        }
        isan__unmap(arenas, room * sizeof *arenas);
        arenas = to;
        room = bigger;
    }
    arenas[n++] = a;
    isan__unlock(&lock);
}

static void *
hook_alloc(void *ctx, size_t size)
{
    (void)ctx;
    void *p = real.alloc(real.ctx, size);
    const struct isan__interp *i = isan__interp_of(isan__self.slot);
    if (p != NULL && i->serial != 0 && !i->shares_main) {
        remember((struct arena){ p, size, i->serial });
    }
    return p;
}

static void
hook_free(void *ctx, void *start, size_t size)
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
    allocator now, ours = { NULL, hook_alloc, hook_free };
    get(&now);
    if (now.alloc != hook_alloc) {
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
        i = 0;                              /* others may have changed the list */
    }
    isan__unlock(&lock);
}
