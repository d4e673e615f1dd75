/* The hooks of the allocators: PyMem_SetAllocator for all three domains, around those that
 * are installed (Doc/c-api/memory.rst, Objects/obmalloc.c).
 *
 * The MEM and OBJECT domains belong to the interpreter that allocates, the RAW domain to
 * the process.  The allocator of another interpreter would take a block for one of
 * malloc's and end the process.  So isan keeps such a block, and it shows up as a leak of
 * its owner.
 */
#include "hooks/alloc.h"

#include "hooks/arena.h"
#include "runtime/api/query.h"
#include "runtime/base/check.h"
#include "runtime/core/attach.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/lifetime.h"
#include "runtime/core/origin.h"
#include "runtime/core/quarantine.h"
#include "runtime/core/transfer.h"
#include "runtime/detect/foreign_use.h"
#include "runtime/detect/gilstate.h"
#include "runtime/detect/leak.h"

/* Include/cpython/pymem.h */
typedef struct {
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t nelem, size_t elsize);
    void *(*realloc)(void *ctx, void *ptr, size_t new_size);
    void (*free)(void *ctx, void *ptr);
} allocator;

static struct domain {
    allocator real;
    int id;                                 /* PYMEM_DOMAIN_RAW, _MEM, _OBJ: 0, 1, 2 */
} domains[3] = { { .id = 0 }, { .id = 1 }, { .id = 2 } };
enum { RAW = 0, MEM = 1, OBJ = 2 };

/* A block needs two granules (core/shadow.h), so isan asks for at least 17 bytes.  The
 * debug hooks (_PyMem_DebugRawAlloc) put 16 bytes before a block and 8 after it, which is
 * enough.  They must know the real size to guard it. */
enum { LEAST = ISAN__GRANULE + 1 };
static size_t least;                        /* LEAST or 0 */

/* The owner of a new block, after isan__sync_thread_state().  A thread without a thread state may
 * use the RAW domain only; such a block belongs to no interpreter. */
ISAN__ALWAYS_INLINE isan__slot_t
new_owner(bool raw)
{
    isan__slot_t slot = isan__slot;
    if (raw) {
        slot = isan__self.nested ? 0 : slot == 0 ? ISAN__NO_INTERP : slot;
    }
    return slot;
}

/* The allocator of the MEM and OBJECT domains takes large blocks and its own bookkeeping
 * from the RAW domain (Objects/obmalloc.c, pymalloc_alloc and new_arena).  The hook of
 * the RAW domain lets nested calls pass. */
#define REAL(raw, call) __extension__ ({                                \
    if (!(raw)) {                                                       \
        isan__self.nested = 1;                                          \
    }                                                                   \
    void *p_ = call;                                                    \
    if (!(raw)) {                                                       \
        isan__self.nested = 0;                                          \
    }                                                                   \
    p_; })

/* Without a thread state the allocators of MEM and OBJECT find no interpreter (3.12,
 * Objects/obmalloc.c, get_state).  Before 3.12 they need the GIL only, which any thread
 * may have. */
static void __attribute__((noinline, cold))
check_unattached(const struct domain *d, void *pc)
{
    if (!isan__py.allocates_without_tstate) {
        isan__gilstate_check_call(d->id == OBJ ? "PyObject_Malloc" : "PyMem_Malloc", pc);
    }
}

ISAN__ALWAYS_INLINE bool
taggable(const void *p)
{
    return p != NULL && ((uintptr_t)p & (ISAN__GRANULE - 1)) == 0;
}

/* Old pointers in new memory must not seem to keep an object alive.  That matters for memory
 * that is filled little by little, such as the arena of a syntax tree (Python/pyarena.c,
 * 8 KiB).  Nor must the type of an old object make the memory look like an object. */
ISAN__ALWAYS_INLINE void
clear_old_pointers(char *p, size_t size)
{
    enum { SMALL = 512, LARGE = 1 << 16 };  /* smaller blocks are filled at once, larger take too long */
    if (ISAN__UNLIKELY(size > SMALL && size <= LARGE)) {
        memset(p, 0, size);
        return;
    }
    for (size_t at = sizeof(void *); at < 3 * ISAN__GRANULE && at + sizeof(void *) <= size; at += ISAN__GRANULE) {
        *(void **)(p + at) = NULL;
    }
}

/* The hooks of each domain are compiled apart, so `id` and `raw` are constants.  `lean` is
 * one too: a stock Python with origin=none and without the debug hooks needs checks and
 * tags only. */
ISAN__ALWAYS_INLINE void *
do_malloc(struct domain *d, size_t size, int id, bool lean)
{
    bool raw = id == RAW;
    if (lean || isan__stock) {
        isan__sync_thread_state_stock(raw);
    }
    size_t smallest = lean ? LEAST : least;
    if (!raw && ISAN__UNLIKELY(isan__self.tstate == NULL)) {
        check_unattached(d, __builtin_return_address(0));
    }
    void *p = REAL(raw, d->real.malloc(d->real.ctx, size < smallest ? smallest : size));
    isan__slot_t slot = new_owner(raw);
    if (ISAN__LIKELY(slot != 0 && taggable(p))) {
        /* pymalloc had the link to its next free block here.  A leaked block that was never
         * filled must not seem to keep that block (detect/leak.c).  The debug hooks fill
         * blocks themselves, and may ask for less than a pointer. */
        if (ISAN__LIKELY(smallest != 0)) {
            *(void **)p = NULL;
            if (id == MEM) {
                clear_old_pointers(p, size);
            }
        }
        isan__tag_block(p, size, slot, lean ? 0 : isan__current_origin(), raw ? ISAN__RAW : 0);
    }
    return p;
}

ISAN__ALWAYS_INLINE void *
do_calloc(struct domain *d, size_t nelem, size_t elsize, bool raw)
{
    isan__sync_thread_state(raw);
    size_t size = nelem * elsize;           /* the caller has checked for overflow */
    if (size < least) {
        nelem = 1;
        elsize = size = least;
    }
    if (!raw && ISAN__UNLIKELY(isan__self.tstate == NULL)) {
        check_unattached(d, __builtin_return_address(0));
    }
    void *p = REAL(raw, d->real.calloc(d->real.ctx, nelem, elsize));
    isan__slot_t slot = new_owner(raw);
    if (ISAN__LIKELY(slot != 0 && taggable(p))) {
        isan__tag_block(p, size, slot, isan__current_origin(), raw ? ISAN__RAW : 0);
    }
    return p;
}

#define MALLOC(name, id, lean)              \
    static void *                           \
    name(void *ctx, size_t size)            \
    {                                       \
        return do_malloc(ctx, size, id, lean); \
    }
MALLOC(hook_raw_malloc, RAW, false)
MALLOC(hook_mem_malloc, MEM, false)
MALLOC(hook_malloc, OBJ, false)
MALLOC(hook_lean_mem_malloc, MEM, true)
MALLOC(hook_lean_malloc, OBJ, true)
#undef MALLOC

static void *
hook_calloc(void *ctx, size_t nelem, size_t elsize)
{
    return do_calloc(ctx, nelem, elsize, false);
}

static void *
hook_raw_calloc(void *ctx, size_t nelem, size_t elsize)
{
    return do_calloc(ctx, nelem, elsize, true);
}

/* The tag of a block that can be freed at once. */
static inline bool
is_plain(uint32_t word)
{
    return (word & (0xffff | ISAN__START | ISAN__NOTED | ISAN__FREED))
        == (ISAN__START | isan__self.free_slot);
}

static void __attribute__((noinline))
slow_free(struct domain *d, void *p, void *pc)
{
    uint32_t word = isan__load_tag(p);
    isan__sync_thread_state(d->id == RAW);
    if (isan__options.signal != 0) {
        isan__scan_if_requested();
    }
    if (!(word & ISAN__START)) {
        d->real.free(d->real.ctx, p);       /* allocated before isan, or not at a multiple of 16 */
        return;
    }
    isan__slot_t slot = isan__slot, owner = word & ISAN__NOTED && d->id != RAW
        ? isan__transfer_end(p, slot) : (isan__slot_t)word;
    bool ended = isan__interp_of(owner)->ended;
    if (word & ISAN__FREED) {
        isan__check_foreign_use(ISAN__KIND_free, ISAN__ACCESS_free, p, pc);
        return;
    }
    if (d->id != RAW && owner != slot && slot != 0) {
        /* On a stock Python no other hook has seen that the object is destroyed. */
        char *op = !isan__stock ? NULL
            : d->id == OBJ ? isan__find_object_in(p, true) : isan__marked_object_in(p);
        isan__check_foreign_use(ISAN__KIND_free, ISAN__ACCESS_free, op ? op : p, pc);
        if (!isan__share_obmalloc(owner, slot)) {
            return;
        }
    }
    else if (isan__self.finalizing && owner == slot && d->id != RAW
             && isan__quarantine(p, d->id)) {
        return;
    }
    isan__slot_t interp = 0;
    if (word & ISAN__NOTED) {
        interp = isan__noted_block_freed(p);
    }
    isan__untag_block(p, word);
    d->real.free(d->real.ctx, p);
    if (ended) {
        isan__interp_block_freed(owner);
    }
    if (interp != 0) {
        isan__interp_end(interp);
    }
}

static void
hook_free(void *ctx, void *p)
{
    struct domain *d = ctx;
    uint32_t word = isan__load_tag(p);
    if (ISAN__LIKELY(is_plain(word))) {
        isan__untag_block(p, word);
        d->real.free(d->real.ctx, p);
    }
    else {
        slow_free(d, p, __builtin_return_address(0));
        ISAN__ASSERT(isan__holds_no_lock());
    }
}

/* Resizes a foreign block: its owner keeps it, and the caller gets a copy. */
static void *
copy_foreign(struct domain *d, void *p, size_t size)
{
    char *q = hook_malloc(d, size);         /* d is not RAW, which has no foreign blocks */
    if (q != NULL) {
        size_t old = isan__block_size(p);
        memcpy(q, p, old < size ? old : size);
        char *op = isan__marked_object_in(p);
        if (op != NULL && taggable(q)) {
            *isan__tag_word(q + (op - (char *)p)) |= ISAN__OBJECT;
        }
    }
    return q;
}

static void *
hook_realloc(void *ctx, void *p, size_t size)
{
    struct domain *d = ctx;
    if (p == NULL) {
        return (d->id == RAW ? hook_raw_malloc : d->id == MEM ? hook_mem_malloc : hook_malloc)(ctx, size);
    }
    size = size < least ? least : size;
    isan__sync_thread_state(d->id == RAW);
    uint32_t word = isan__load_tag(p);
    isan__slot_t slot = isan__slot, owner = word & ISAN__NOTED && d->id != RAW
        ? isan__transfer_end(p, slot) : (isan__slot_t)word;
    if (!(word & ISAN__START)) {
        return REAL(d->id == RAW, d->real.realloc(d->real.ctx, p, size));
    }
    if (d->id != RAW && (word & ISAN__FREED || (owner != slot && slot != 0))) {
        isan__check_foreign_use(ISAN__KIND_free, ISAN__ACCESS_realloc, p, __builtin_return_address(0));
        if (word & ISAN__FREED || !isan__share_obmalloc(owner, slot)) {
            return copy_foreign(d, p, size);
        }
    }
    /* The old tags are cleared first: another thread may get the old address and tag it before
     * realloc returns. */
    size_t old = isan__block_size(p);
    uint32_t origin = isan__block_origin(p);
    char *op = isan__marked_object_in(p);
    isan__untag_block(p, word);
    char *q = REAL(d->id == RAW, d->real.realloc(d->real.ctx, p, size));
    char *now = q != NULL ? q : p;
    if (taggable(now)) {
        /* A foreign block of a shared obmalloc gets the owner that a copy in a new block
         * would have. */
        bool taken = q != NULL && d->id != RAW && slot != 0 && slot != owner;
        isan__tag_block(now, q != NULL ? size : old, taken ? slot : owner,
                        taken ? isan__current_origin() : origin, word & (ISAN__RAW | ISAN__NOTED));
        if (taken && isan__interp_of(owner)->ended) {
            isan__interp_block_freed(owner);
        }
        if (op != NULL) {
            *isan__tag_word(now + (op - (char *)p)) |= ISAN__OBJECT;
        }
    }
    if (ISAN__UNLIKELY(word & ISAN__NOTED) && now != p) {
        isan__noted_block_moved(p, now);
    }
    ISAN__ASSERT(isan__holds_no_lock());
    return q;
}

static void
free_really(int domain, void *p)
{
    domains[domain].real.free(domains[domain].real.ctx, p);
}

static void
get_allocator(int domain, allocator *a)
{
    void (*f)(int, allocator *) = (void (*)(int, allocator *))isan__python_symbol("PyMem_GetAllocator");
    f(domain, a);
}

/* The debug hooks are on all domains or on none (PyMem_SetupDebugHooks).  They put a
 * letter before a block and fill it.  The RAW domain can be asked without a thread state. */
static bool
has_debug_hooks(const allocator *raw)
{
    unsigned char *p = raw->malloc(raw->ctx, 1);
    bool debug = p != NULL && p[0] == 0xcd && p[-8] == 'r';
    raw->free(raw->ctx, p);
    return debug;
}

/* Is another allocator around isan's, such as tracemalloc's? */
static bool
is_wrapped(void)
{
    allocator now;
    get_allocator(RAW, &now);
    return now.malloc != hook_raw_malloc;
}

/* Python resets the allocators when it is initialised again (Python/pystate.c,
 * _PyRuntimeState_Init). */
static bool
were_reset(void)
{
    allocator now;
    get_allocator(RAW, &now);
    return now.malloc == domains[RAW].real.malloc;
}

/* Called when a main interpreter begins.  Python has set its own allocators by then (PYTHONMALLOC,
 * -X dev). */
void
isan__alloc_install(void)
{
    void (*set)(int, allocator *) = (void (*)(int, allocator *))isan__python_symbol("PyMem_SetAllocator");
    isan__arenas_install();
    isan__real_free = free_really;
    isan__allocator_is_wrapped = is_wrapped;
    isan__allocators_were_reset = were_reset;
    allocator now;
    get_allocator(RAW, &now);
    if (now.malloc == hook_raw_malloc) {
        return;
    }
    least = has_debug_hooks(&now) ? 0 : LEAST;
    static void *(*const mallocs[2][3])(void *, size_t) = {
        { hook_raw_malloc, hook_mem_malloc, hook_malloc },
        { hook_raw_malloc, hook_lean_mem_malloc, hook_lean_malloc },
    };
    bool lean = isan__stock && isan__options.origin == ISAN__ORIGIN_none && least != 0;
    for (int i = 0; i < 3; i++) {
        get_allocator(i, &domains[i].real);
        set(i, &(allocator){
            &domains[i], mallocs[lean][i],
            i == RAW ? hook_raw_calloc : hook_calloc, hook_realloc, hook_free,
        });
    }
}

void
isan__alloc_interp_begins(isan__slot_t slot)
{
    if (isan__interp_of(slot)->kind == ISAN_INTERP_MAIN) {
        isan__alloc_install();
    }
}
