/* The registry of loaded modules: see modules.h. */
#define _GNU_SOURCE
#include "runtime/elf/modules.h"

#include <link.h>

#include "runtime/base/lock.h"
#include "runtime/base/os.h"

/* Memory of isan__map() that readers may have. */
struct memory {
    struct memory *next;
    size_t size;
};

struct record {
    struct memory memory;
    struct isan__module module;
};

struct snapshot {
    struct memory memory;
    uint64_t generation, unloaded;
    size_t n;
    const struct record **by_address;
    const struct record *all[];             /* in the linker's order */
};

static const void *runtime;
static struct isan__lock lock = { .rank = ISAN__RANK_MODULES };
static struct snapshot *current;            /* changed with the lock held */
static struct memory *replaced;             /* likewise */
static int readers;

/* A reader counts itself before it takes the snapshot.  free_replaced() reads the count after
 * the snapshot was replaced.  All of these are SEQ_CST, so a reader that is not counted there
 * takes the newer snapshot. */
static const struct snapshot *
begin_reading(void)
{
    __atomic_add_fetch(&readers, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&current, __ATOMIC_SEQ_CST);
}

static void
end_reading(void)
{
    __atomic_sub_fetch(&readers, 1, __ATOMIC_SEQ_CST);
}

static void
free_all(struct memory *memory)
{
    while (memory != NULL) {
        struct memory *next = memory->next;
        isan__unmap(memory, memory->size);
        memory = next;
    }
}

static void
free_replaced(void)
{
    struct memory *unused = NULL;
    isan__lock(&lock);
    if (__atomic_load_n(&readers, __ATOMIC_SEQ_CST) == 0) {
        unused = replaced;
        replaced = NULL;
    }
    isan__unlock(&lock);
    free_all(unused);
}

/* --- a snapshot ----------------------------------------------------------------------- */

struct listing {
    const struct snapshot *old;             /* NULL: there is none yet */
    uint64_t generation, unloaded;
    const struct record **all;
    struct memory *made;                    /* the records that `old` does not have */
    size_t n, room;
};

static const struct record *
find_old(const struct snapshot *old, const struct dl_phdr_info *info)
{
    for (size_t i = 0; old != NULL && i < old->n; i++) {
        const struct isan__module *m = &old->all[i]->module;
        if (m->base == info->dlpi_addr && m->headers == info->dlpi_phdr && m->n_headers == info->dlpi_phnum
            && (info->dlpi_name == NULL || info->dlpi_name[0] == 0 || strcmp(m->path, info->dlpi_name) == 0)) {
            return old->all[i];
        }
    }
    return NULL;
}

/* Without memory for its record a module is left out. */
static int
list_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct listing *l = arg;
    l->generation = info->dlpi_adds + info->dlpi_subs;
    l->unloaded = info->dlpi_subs;
    if (l->old != NULL && l->old->generation == l->generation) {
        return 1;
    }
    const struct record *r = find_old(l->old, info);
    if (l->n == l->room && !isan__grow(&l->all, &l->room, 512, sizeof *l->all)) {
        return 1;
    }
    if (r == NULL) {
        size_t room;
        struct record *made = isan__make_module(info, size, runtime, offsetof(struct record, module), &room);
        if (made == NULL) {
            return 0;
        }
        made->memory.size = room;
        made->memory.next = l->made;
        l->made = &made->memory;
        r = made;
    }
    l->all[l->n++] = r;
    return 0;
}

static struct snapshot *
make_snapshot(const struct listing *l)
{
    size_t size = sizeof(struct snapshot) + 2 * l->n * sizeof *l->all;
    struct snapshot *s = isan__map(size);
    if (s == NULL) {
        return NULL;
    }
    s->memory.size = size;
    s->generation = l->generation;
    s->unloaded = l->unloaded;
    s->n = l->n;
    s->by_address = s->all + l->n;
    for (size_t i = 0; i < l->n; i++) {
        size_t at = i;
        s->all[i] = l->all[i];
        for (; at > 0 && s->by_address[at - 1]->module.start > l->all[i]->module.start; at--) {
            s->by_address[at] = s->by_address[at - 1];
        }
        s->by_address[at] = l->all[i];
    }
    return s;
}

/* The old snapshot, with the records that the new one does not have.  It is the current one,
 * so nothing else links them. */
static struct memory *
replaced_by(const struct snapshot *new, struct snapshot *old)
{
    struct memory *first = &old->memory;
    first->next = NULL;
    for (size_t i = 0, from = 0; i < old->n; i++) {
        size_t j = from;
        while (j < new->n && new->all[j] != old->all[i]) {
            j++;
        }
        if (j < new->n) {
            from = j + 1;                   /* the linker keeps their order */
        }
        else {
            struct memory *record = (struct memory *)&old->all[i]->memory;
            record->next = first;
            first = record;
        }
    }
    return first;
}

/* False: another refresh was first. */
static bool
publish(struct snapshot *new, struct snapshot *old)
{
    isan__lock(&lock);
    bool first = current == old;
    if (first) {
        __atomic_store_n(&current, new, __ATOMIC_SEQ_CST);
        if (old != NULL) {
            struct memory *memory = replaced_by(new, old), *last = memory;
            while (last->next != NULL) {
                last = last->next;
            }
            last->next = replaced;
            replaced = memory;
        }
    }
    isan__unlock(&lock);
    return first;
}

uint64_t
isan__modules_refresh(void)
{
    bool done = runtime == NULL;
    uint64_t generation = 0;
    while (!done) {
        struct listing l = { .old = begin_reading() };
        struct snapshot *new = NULL;
        dl_iterate_phdr(list_module, &l);
        generation = l.generation;
        done = l.old != NULL && l.old->generation == generation;
        if (!done) {
            new = make_snapshot(&l);
            done = new != NULL && publish(new, (struct snapshot *)l.old);
            if (!done) {                    /* no memory, or another refresh was first */
                free_all(l.made);
                isan__unmap(new, new ? new->memory.size : 0);
                generation = 0;
            }
        }
        end_reading();
        isan__unmap(l.all, l.room * sizeof *l.all);
        free_replaced();
        done |= new == NULL;
    }
    return generation;
}

void
isan__modules_begin(const void *of_python)
{
    runtime = of_python;
    isan__modules_refresh();
}

/* Other threads, which may have been reading, are not there any more. */
void
isan__modules_forked(int unused)
{
    (void)unused;
    readers = 0;
}

/* If that was the module's last handle, its memory is not mapped any more.  If another module was
 * loaded to the same place meanwhile, its dlopen() refreshes. */
void
isan__modules_closed(const void *dynamic)
{
    uint64_t word;
    if (runtime != NULL && !isan__peek(&word, dynamic, sizeof word)) {
        isan__modules_refresh();
    }
}

/* --- readers -------------------------------------------------------------------------- */

uint64_t
isan__modules_generation(void)
{
    const struct snapshot *s = begin_reading();
    uint64_t generation = s != NULL ? s->generation : 0;
    end_reading();
    return generation;
}

uint64_t
isan__modules_unloaded(void)
{
    const struct snapshot *s = begin_reading();
    uint64_t unloaded = s != NULL ? s->unloaded : 0;
    end_reading();
    return unloaded;
}

static void
visit_all(const struct snapshot *s, isan__module_visitor *visit, void *arg)
{
    for (size_t i = 0; s != NULL && i < s->n && visit(&s->all[i]->module, arg); i++) {
    }
}

void
isan__visit_modules(isan__module_visitor *visit, void *arg)
{
    visit_all(begin_reading(), visit, arg);
    end_reading();
}

struct keeping {
    uint64_t generation;
    isan__module_visitor *visit;
    void *arg;
    bool same;
};

static int
visit_kept(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct keeping *k = arg;
    const struct snapshot *s = begin_reading();
    (void)size;
    k->same = s != NULL && s->generation == k->generation && info->dlpi_adds + info->dlpi_subs == k->generation;
    if (k->same) {
        visit_all(s, k->visit, k->arg);
    }
    end_reading();
    return 1;
}

bool
isan__visit_kept_modules(uint64_t generation, isan__module_visitor *visit, void *arg)
{
    struct keeping k = { generation, visit, arg, false };
    if (generation == 0) {
        return true;
    }
    dl_iterate_phdr(visit_kept, &k);
    return k.same;
}

static void
need(const struct snapshot *s, const char *name, uint32_t *queue, size_t *n, bool *seen)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct isan__module *m = &s->all[i]->module;
        if (strcmp(m->soname, name) == 0 || strcmp(isan__file_name(m->path), name) == 0) {
            if (!seen[i]) {
                seen[i] = true;
                queue[(*n)++] = (uint32_t)i;
            }
            return;
        }
    }
}

static void
visit_closure(const struct snapshot *s, uintptr_t base, uint32_t *queue, isan__module_visitor *visit, void *arg)
{
    bool *seen = (bool *)(queue + s->n);
    size_t n = 0;
    for (size_t i = 0; n == 0 && i < s->n; i++) {
        if (s->all[i]->module.base == base) {
            seen[i] = true;
            queue[n++] = (uint32_t)i;
        }
    }
    for (size_t at = 0; at < n; at++) {
        const struct isan__module *m = &s->all[queue[at]]->module;
        for (size_t i = visit(m, arg) ? 0 : m->n_needed; i < m->n_needed; i++) {
            need(s, m->needed[i], queue, &n, seen);
        }
    }
}

void
isan__visit_module_closure(uintptr_t base, isan__module_visitor *visit, void *arg)
{
    const struct snapshot *s = begin_reading();
    size_t size = s != NULL ? s->n * (sizeof(uint32_t) + sizeof(bool)) : 0;
    uint32_t *queue = size != 0 ? isan__map(size) : NULL;
    if (queue != NULL) {
        visit_closure(s, base, queue, visit, arg);
    }
    end_reading();
    isan__unmap(queue, size);
}

static const struct record *
find_at(const struct snapshot *s, uint64_t address)
{
    size_t low = 0, high = s != NULL ? s->n : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->by_address[middle]->module.end <= address) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return s != NULL && low < s->n && s->by_address[low]->module.start <= address ? s->by_address[low] : NULL;
}

bool
isan__visit_module_at(uint64_t address, isan__module_visitor *visit, void *arg)
{
    const struct record *r = find_at(begin_reading(), address);
    if (r != NULL) {
        visit(&r->module, arg);
    }
    end_reading();
    return r != NULL;
}

uintptr_t
isan__module_base(uint64_t address)
{
    const struct record *r = find_at(begin_reading(), address);
    uintptr_t base = r != NULL ? r->module.base : UINTPTR_MAX;
    end_reading();
    return base;
}

bool
isan__module_is_known(uintptr_t base, const char *path)
{
    const struct snapshot *s = begin_reading();
    bool known = false;
    for (size_t i = 0; s != NULL && i < s->n && !known; i++) {
        const struct isan__module *m = &s->all[i]->module;
        known = m->base == base && (path[0] == 0 || strcmp(m->path, path) == 0);
    }
    end_reading();
    return known;
}
