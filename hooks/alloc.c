/* The allocators: PyMem_SetAllocator for all three domains, around whatever
 * is installed (Doc/c-api/memory.rst, Objects/obmalloc.c).
 *
 * Contract checked: the MEM and OBJECT domains belong to the interpreter that
 * allocates, the RAW domain to the process.  A block given to the wrong
 * interpreter's allocator would be taken for malloc's and end the process, so
 * it is kept instead, and shows up as its owner's leak.
 */
#include "hooks/alloc.h"

#include "hooks/arena.h"
#include "runtime/api/query.h"
#include "runtime/core/attach.h"
#include "runtime/core/block.h"
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

/* A block needs two granules (owner.h), so 17 bytes are asked for at least.
 * But the debug hooks (_PyMem_DebugRawAlloc) put 16 bytes before a block and 8
 * after it, room enough, and must know its real size to guard it. */
enum { LEAST = ISAN__GRANULE + 1 };
static size_t least;                        /* LEAST or 0 */

#define INLINE static inline __attribute__((always_inline))

/* Whose a new block is, after refreshing. Without a thread state only the RAW
 * domain may be used, and the block is nobody's. */
INLINE isan__slot_t
current(bool raw)
{
    isan__slot_t slot = isan__slot;
    if (raw) {
        slot = isan__self.nested ? 0 : slot == 0 ? ISAN__NO_INTERP : slot;
    }
    return slot;
}

/* The MEM and OBJECT domains' allocator takes large blocks and its own
 * bookkeeping from the RAW domain (Objects/obmalloc.c, pymalloc_alloc and
 * new_arena), whose hook lets those pass. */
#define REAL(raw, call) __extension__ ({                                \
    if (!(raw)) {                                                       \
        isan__self.nested = 1;                                          \
    }                                                                   \
    void *p_ = call;                                                    \
    if (!(raw)) {                                                       \
        isan__self.nested = 0;                                          \
    }                                                                   \
    p_; })

/* Without a thread state the allocators of MEM and OBJECT have no interpreter to
 * take memory of, and from 3.12 on no pointer to one (Objects/obmalloc.c,
 * get_state).  Before, the GIL is all that they need, which any thread may have. */
static void __attribute__((noinline, cold))
unattached(const struct domain *d, void *pc)
{
    if (!isan__py.allocates_without_tstate) {
        isan__gilstate_check_call(d->id == OBJ ? "PyObject_Malloc" : "PyMem_Malloc", pc);
    }
}

INLINE bool
taggable(const void *p)
{
    return p != NULL && ((uintptr_t)p & (ISAN__GRANULE - 1)) == 0;
}

/* Memory that is filled little by little, such as the arena of a program's
 * syntax tree while the program runs (Python/pyarena.c, 8 KiB), must not seem to
 * keep what was there before; and none must be recognised as an object by an
 * old one's type (stock.c). */
INLINE void
forget(char *p, size_t size)
{
    enum { SMALL = 512, LARGE = 1 << 16 };  /* less is filled at once, more takes its time */
    if (ISAN__UNLIKELY(size > SMALL && size <= LARGE)) {
        memset(p, 0, size);
        return;
    }
    for (size_t at = sizeof(void *); at < 3 * ISAN__GRANULE && at + sizeof(void *) <= size; at += ISAN__GRANULE) {
        *(void **)(p + at) = NULL;
    }
}

/* The hooks of each domain are compiled apart: `id` is a constant, and so is
 * `raw`.  So is `lean`: a stock Python with origin=none and without the debug
 * hooks, where checks and tags are all there is to pay for. */
INLINE void *
do_malloc(struct domain *d, size_t size, int id, bool lean)
{
    bool raw = id == RAW;
    if (lean || isan__stock) {
        isan__sync_thread_state_stock(raw);
    }
    size_t smallest = lean ? LEAST : least;
    if (!raw && ISAN__UNLIKELY(isan__self.tstate == NULL)) {
        unattached(d, __builtin_return_address(0));
    }
    void *p = REAL(raw, d->real.malloc(d->real.ctx, size < smallest ? smallest : size));
    isan__slot_t slot = current(raw);
    if (ISAN__LIKELY(slot != 0 && taggable(p))) {
        /* Where pymalloc had the link to its next free block: a leaked block
         * that was never filled must not seem to keep that one (leak.c).  The
         * debug hooks, which may have put less than a pointer there, fill it. */
        if (ISAN__LIKELY(smallest != 0)) {
            *(void **)p = NULL;
            if (id == MEM) {
                forget(p, size);
            }
        }
        /* Whatever is less than two granules, they are what has a tag. */
        isan__tag_block(p, size, slot, lean ? 0 : isan__current_origin(), raw ? ISAN__RAW : 0);
    }
    return p;
}

INLINE void *
do_calloc(struct domain *d, size_t nelem, size_t elsize, bool raw)
{
    isan__sync_thread_state(raw);
    size_t size = nelem * elsize;           /* the caller has checked for overflow */
    if (size < least) {
        nelem = 1;
        elsize = size = least;
    }
    if (!raw && ISAN__UNLIKELY(isan__self.tstate == NULL)) {
        unattached(d, __builtin_return_address(0));
    }
    void *p = REAL(raw, d->real.calloc(d->real.ctx, nelem, elsize));
    isan__slot_t slot = current(raw);
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

/* What a block must carry to be freed without further ado. */
static inline bool
plain(uint32_t word)
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
        d->real.free(d->real.ctx, p);       /* from before isan, or no multiple of 16 */
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
        /* On a stock Python this is the first to see that an object dies. */
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
    if (ISAN__LIKELY(plain(word))) {
        isan__untag_block(p, word);
        d->real.free(d->real.ctx, p);
    }
    else {
        slow_free(d, p, __builtin_return_address(0));
    }
}

/* A foreign block: its owner keeps it, the caller gets a copy. */
static void *
copy(struct domain *d, void *p, size_t size)
{
    char *q = hook_malloc(d, size);         /* never RAW's, which has no owner */
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
            return copy(d, p, size);
        }
    }
    /* Whoever gets the old address next may tag it before realloc is back
     * here, so its tags go first. */
    size_t old = isan__block_size(p);
    uint32_t origin = isan__block_origin(p);
    char *op = isan__marked_object_in(p);
    isan__untag_block(p, word);
    char *q = REAL(d->id == RAW, d->real.realloc(d->real.ctx, p, size));
    char *now = q != NULL ? q : p;
    if (taggable(now)) {
        /* A foreign block of a shared obmalloc is whose it would be had it
         * been copied to a new one. */
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
    return q;
}

static void
free_really(int domain, void *p)
{
    domains[domain].real.free(domains[domain].real.ctx, p);
}

static void
get(int domain, allocator *a)
{
    void (*f)(int, allocator *) = (void (*)(int, allocator *))isan__python_symbol("PyMem_GetAllocator");
    f(domain, a);
}

/* The debug hooks are on all domains or none (PyMem_SetupDebugHooks), and known
 * by the letter before a block and the bytes in it; the RAW domain needs no
 * thread state. */
static bool
debug_hooks(const allocator *raw)
{
    unsigned char *p = raw->malloc(raw->ctx, 1);
    bool debug = p != NULL && p[0] == 0xcd && p[-8] == 'r';
    raw->free(raw->ctx, p);
    return debug;
}

static bool
is_wrapped(void)
{
    allocator now;
    get(RAW, &now);
    return now.malloc != hook_raw_malloc;
}

/* Python has been initialised again and has its own allocators back
 * (Python/pystate.c, _PyRuntimeState_Init). */
static bool
were_reset(void)
{
    allocator now;
    get(RAW, &now);
    return now.malloc == domains[RAW].real.malloc;
}

/* Python sets its allocators when it is initialised (PYTHONMALLOC, -X dev),
 * so this is called when a main interpreter begins. */
void
isan__alloc_install(void)
{
    void (*set)(int, allocator *) = (void (*)(int, allocator *))isan__python_symbol("PyMem_SetAllocator");
    isan__arenas_install();
    isan__real_free = free_really;
    isan__allocator_is_wrapped = is_wrapped;
    isan__allocators_were_reset = were_reset;
    allocator now;
    get(RAW, &now);
    if (now.malloc == hook_raw_malloc) {
        return;
    }
    least = debug_hooks(&now) ? 0 : LEAST;
    static void *(*const mallocs[2][3])(void *, size_t) = {
        { hook_raw_malloc, hook_mem_malloc, hook_malloc },
        { hook_raw_malloc, hook_lean_mem_malloc, hook_lean_malloc },
    };
    bool lean = isan__stock && isan__options.origin == ISAN__ORIGIN_none && least != 0;
    for (int i = 0; i < 3; i++) {
        get(i, &domains[i].real);
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
