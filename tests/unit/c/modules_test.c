/* runtime/elf/modules.c, module.c and imports.c: the registry of loaded modules.
 *
 * Each test compiles two small libraries, of which the first needs the second, and loads them. */
#define _GNU_SOURCE
#include "runtime/elf/modules.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include "runtime/elf/imports.h"
#include "unit.h"

static int runtime; /* in the place of _PyRuntime */

static const char *const sources[2] = {
    "int needed(void) { return 1; }\n",
    "int needed(void); void Py_IncRef(void *); __thread int of_thread[100]; int variable = 7;\n"
    "int call(void) { Py_IncRef(&variable); return needed() + of_thread[0]; }\n",
};
static char directory[] = "/tmp/isan-modules-test-XXXXXX";
static char paths[2][128];

static void
compile(int i, const char *args)
{
    char command[1024], source[160];
    const char *compiler = getenv("CC");
    snprintf(source, sizeof source, "%s/%d.c", directory, i);
    FILE *file = fopen(source, "w");
    fputs(sources[i], file);
    fclose(file);
    snprintf(paths[i], sizeof paths[i], "%s/libunit-%s.so", directory, i == 0 ? "needed" : "first");
    snprintf(command, sizeof command, "%s -shared -fPIC -Wl,--build-id -Wl,-z,lazy -o %s %s %s",
             compiler != NULL ? compiler : "cc", paths[i], source, args);
    EXPECT_EQ(system(command), 0);
    unlink(source);
}

static void
remove_libraries(void)
{
    for (int i = 0; i < 2; i++) {
        unlink(paths[i]);
    }
    rmdir(directory);
}

static void
compile_libraries(void)
{
    char args[512];
    EXPECT(mkdtemp(directory) != NULL);
    atexit(remove_libraries);
    compile(0, "-Wl,-soname,libunit-needed.so.1");
    snprintf(args, sizeof args, "-Wl,-soname,libunit-first.so.1 %s", paths[0]);
    compile(1, args);
}

/* The first library's handle; the second is loaded with it. */
static void *
load(void)
{
    void *needed = dlopen(paths[0], RTLD_NOW), *first = dlopen(paths[1], RTLD_LAZY);
    EXPECT(needed != NULL && first != NULL);
    dlclose(needed);
    return first;
}

static struct link_map *
map_of(void *handle)
{
    struct link_map *map;
    EXPECT_EQ(dlinfo(handle, RTLD_DI_LINKMAP, &map), 0);
    return map;
}

struct found {
    int n;
    char path[256], soname[64], needed[64];
    struct isan__module module; /* only its numbers are valid after the visit */
    const void *has;            /* an address: is it in writable data? */
    bool in_data;
};

static bool
note_module(const struct isan__module *m, void *arg)
{
    struct found *f = arg;
    f->n++;
    f->module = *m;
    snprintf(f->path, sizeof f->path, "%s", m->path);
    snprintf(f->soname, sizeof f->soname, "%s", m->soname);
    snprintf(f->needed, sizeof f->needed, "%s", m->n_needed != 0 ? m->needed[0] : "");
    EXPECT_EQ(strlen(m->build_id), 40);
    for (size_t i = 0; i < m->n_data; i++) {
        f->in_data |= (uintptr_t)f->has - m->data[i].start < m->data[i].end - m->data[i].start;
    }
    return true;
}

static bool
count_module(const struct isan__module *m, void *arg)
{
    (void)m;
    ++*(int *)arg;
    return true;
}

TEST(before_it_begins_there_are_no_modules)
{
    int n = 0;
    EXPECT_EQ(isan__modules_refresh(), 0);
    EXPECT_EQ(isan__modules_generation(), 0);
    isan__visit_modules(count_module, &n);
    EXPECT_EQ(n, 0);
    EXPECT(!isan__is_in_module((uintptr_t)&runtime));
    EXPECT(isan__visit_kept_modules(0, count_module, &n));
    EXPECT_EQ(n, 0);
}

TEST(the_program_itself_is_registered)
{
    char exe[256] = "";
    struct found found = { .has = &runtime };
    int on_stack = 0;
    EXPECT(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
    isan__modules_begin(&runtime);
    EXPECT(isan__visit_module_at((uintptr_t)&runtime, note_module, &found));
    EXPECT_STR(found.path, exe);
    EXPECT(found.in_data && found.module.has_runtime);
    EXPECT((uintptr_t)compile - found.module.text.start
           < found.module.text.end - found.module.text.start);
    EXPECT_EQ(isan__module_base((uintptr_t)compile), found.module.base);
    EXPECT(!isan__is_in_module((uintptr_t)&on_stack));
    EXPECT(!isan__is_in_module(found.module.start - 1));
    EXPECT(isan__is_in_module(found.module.start) && isan__is_in_module(found.module.end - 1));
    EXPECT_EQ(isan__module_base((uintptr_t)&on_stack), UINTPTR_MAX);
    /* The C library holds addresses for reasons of its own. */
    found = (struct found){ 0 };
    EXPECT(isan__visit_module_at((uintptr_t)dlsym(RTLD_DEFAULT, "getppid"), note_module, &found));
    EXPECT(found.module.is_excluded && !found.module.has_runtime);
}

TEST(a_library_is_known_after_a_refresh)
{
    compile_libraries();
    isan__modules_begin(&runtime);
    uint64_t generation = isan__modules_generation();
    void *handle = load();
    int *variable = dlsym(handle, "variable");
    struct link_map *map = map_of(handle);
    EXPECT(!isan__is_in_module((uintptr_t)variable));
    EXPECT(isan__modules_refresh() > generation);
    EXPECT(isan__modules_generation() > generation);
    EXPECT_EQ(isan__modules_refresh(), isan__modules_generation());
    struct found found = { .has = variable };
    EXPECT(isan__visit_module_at((uintptr_t)variable, note_module, &found));
    EXPECT_STR(found.path, paths[1]);
    EXPECT_STR(found.soname, "libunit-first.so.1");
    EXPECT_STR(found.needed, "libunit-needed.so.1");
    EXPECT(found.in_data && !found.module.has_runtime && !found.module.is_excluded);
    EXPECT_EQ(found.module.base, map->l_addr);
    EXPECT(found.module.dynamic == map->l_ld);
    EXPECT(found.module.tls_id != 0 && found.module.tls_size == 400);
    EXPECT_EQ(found.module.imports, ISAN__IMPORTS_PYTHON | ISAN__IMPORTS_INCREF);
    EXPECT(isan__module_is_known(map->l_addr, paths[1]));
    EXPECT(!isan__module_is_known(map->l_addr, paths[0]));
    EXPECT(!isan__module_is_known(map->l_addr + 1, paths[1]));
}

TEST(an_unloaded_library_is_gone)
{
    compile_libraries();
    isan__modules_begin(&runtime);
    void *handle = load(), *again = dlopen(paths[1], RTLD_LAZY);
    const void *dynamic = map_of(handle)->l_ld;
    uintptr_t variable = (uintptr_t)dlsym(handle, "variable");
    isan__modules_refresh();
    uint64_t generation = isan__modules_generation(), unloaded = isan__modules_unloaded();
    dlclose(again);
    isan__modules_closed(dynamic); /* that was not the last handle */
    EXPECT(isan__is_in_module(variable));
    EXPECT_EQ(isan__modules_generation(), generation);
    dlclose(handle);
    isan__modules_closed(dynamic);
    EXPECT(!isan__is_in_module(variable));
    EXPECT_EQ(isan__modules_unloaded(), unloaded + 2); /* and with it the one that it needs */
    EXPECT_EQ(isan__modules_generation(), generation + 2);
}

struct closure {
    int n;
    const char *stop_at;
    char sonames[8][64];
};

static bool
note_closure(const struct isan__module *m, void *arg)
{
    struct closure *c = arg;
    EXPECT(c->n < 8);
    snprintf(c->sonames[c->n++], 64, "%s", m->soname);
    return c->stop_at == NULL || strcmp(m->soname, c->stop_at) != 0;
}

TEST(a_library_comes_before_those_that_it_needs)
{
    compile_libraries();
    isan__modules_begin(&runtime);
    uintptr_t base = map_of(load())->l_addr;
    struct closure all = { 0 }, one = { .stop_at = "libunit-first.so.1" }, none = { 0 };
    isan__modules_refresh();
    isan__visit_module_closure(base, note_closure, &all);
    EXPECT_STR(all.sonames[0], "libunit-first.so.1");
    EXPECT_STR(all.sonames[1], "libunit-needed.so.1");
    for (int i = 0; i < all.n; i++) {
        for (int j = 0; j < i; j++) {
            EXPECT(strcmp(all.sonames[i], all.sonames[j]) != 0);
        }
    }
    isan__visit_module_closure(base, note_closure, &one);
    EXPECT_EQ(one.n, 1);
    isan__visit_module_closure(base + 1, note_closure, &none);
    EXPECT_EQ(none.n, 0);
}

TEST(modules_are_kept_for_the_current_generation_only)
{
    int n = 0, kept = 0;
    compile_libraries();
    isan__modules_begin(&runtime);
    uint64_t generation = isan__modules_generation();
    isan__visit_modules(count_module, &n);
    EXPECT(isan__visit_kept_modules(generation, count_module, &kept));
    EXPECT(n > 0 && kept == n);
    load();
    EXPECT(!isan__visit_kept_modules(generation, count_module, &kept));
    EXPECT(!isan__visit_kept_modules(isan__modules_refresh() + 1, count_module, &kept));
    EXPECT_EQ(kept, n);
}

static bool
visit_one(const struct isan__module *m, void *arg)
{
    (void)m;
    ++*(int *)arg;
    return false;
}

TEST(a_visitor_ends_the_visit)
{
    int n = 0;
    isan__modules_begin(&runtime);
    isan__visit_modules(visit_one, &n);
    EXPECT_EQ(n, 1);
}

static int n_increfs, n_our_increfs;

void Py_IncRef(void *op);
void
Py_IncRef(void *op)
{
    (void)op;
    n_increfs++;
}

static void
our_incref(void *op)
{
    (void)op;
    n_our_increfs++;
}

static void *
substitute(const char *name, bool call, void *arg)
{
    bool is = strcmp(name, "Py_IncRef") == 0;
    (void)arg;
    EXPECT(!is || call);
    return is ? (void *)our_incref : NULL;
}

static bool
rewrite(const struct isan__module *m, void *arg)
{
    if (strcmp(m->path, arg) == 0) {
        isan__imports_rewrite(m, substitute, NULL);
    }
    return true;
}

TEST(an_import_is_led_to_another_function)
{
    compile_libraries();
    isan__modules_begin(&runtime);
    int (*call)(void) = (int (*)(void))dlsym(load(), "call");
    EXPECT_EQ(call(), 1);
    EXPECT(n_increfs == 1 && n_our_increfs == 0);
    EXPECT(isan__visit_kept_modules(isan__modules_refresh(), rewrite, paths[1]));
    EXPECT_EQ(call(), 1); /* needed() is as it was */
    EXPECT(n_increfs == 1 && n_our_increfs == 1);
}

static int done;

static bool
read_module(const struct isan__module *m, void *arg)
{
    size_t *sum = arg;
    *sum += strlen(m->path) + strlen(m->soname) + m->n_needed;
    for (size_t i = 0; i < m->n_needed; i++) {
        *sum += strlen(m->needed[i]);
    }
    EXPECT(m->start < m->end);
    return true;
}

static void *
read_modules(void *arg)
{
    size_t sum = 0, rounds = 0;
    for (; __atomic_load_n(&done, __ATOMIC_RELAXED) == 0 || rounds == 0; rounds++) {
        isan__visit_modules(read_module, &sum);
        EXPECT(isan__is_in_module((uintptr_t)&runtime));
        EXPECT(isan__visit_module_at((uintptr_t)read_modules, read_module, &sum));
    }
    return arg;
}

/* What a reader has is not unmapped before it is done: it would crash. */
TEST(threads_read_while_libraries_come_and_go)
{
    enum { THREADS = 4, ROUNDS = 200 };
    pthread_t threads[THREADS];
    compile_libraries();
    isan__modules_begin(&runtime);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, read_modules, NULL);
    }
    for (int i = 0; i < ROUNDS; i++) {
        void *handle = load();
        const void *dynamic = map_of(handle)->l_ld;
        uintptr_t variable = (uintptr_t)dlsym(handle, "variable");
        isan__modules_refresh();
        EXPECT(isan__is_in_module(variable));
        dlclose(handle);
        isan__modules_closed(dynamic);
        EXPECT(!isan__is_in_module(variable));
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

TEST(a_child_refreshes_without_the_readers_of_its_parent)
{
    isan__modules_begin(&runtime);
    pid_t child = fork();
    int status;
    if (child == 0) {
        isan__modules_forked(0);
        _exit(isan__is_in_module((uintptr_t)&runtime) ? 0 : 1);
    }
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}
