/* isan-symbolize: what is at this address of that ELF file?
 *
 * Reads one request a line on stdin and answers each with one line of JSON on
 * stdout, in order:
 *
 *   code<TAB>PATH<TAB>BUILDID<TAB>HEXVADDR
 *     {"frames":[{"function":..,"file":..,"line":..,"start":..}, ..]}
 *     innermost inlined call first; "start" is the line the function begins at
 *   data<TAB>PATH<TAB>BUILDID<TAB>HEXVADDR
 *     {"symbol":..,"offset":..,"size":..,"file":..,"line":..,"element":..,"atomic":..,"section":..}
 *     a function's own static is "function::variable"; where no variable is
 *     known, symbol is null and offset counts from the start of the section;
 *     "atomic": is it, or the member or element there, _Atomic or a std::atomic?
 *   tls<TAB>PATH<TAB>BUILDID<TAB>HEXOFFSET
 *     the same for a thread-local variable, by its offset in the module's block
 *   statics<TAB>PATH<TAB>BUILDID
 *     {"statics":[{"symbol":..,"address":..,"size":..,"file":..,"line":..,
 *                  "parts":[{"what":..,"offset":..,"element":..}, ..]}, ..],"imports":[..]}
 *     the variables in writable memory that debug information has, but for
 *     thread-local ones, that consist of or have as members ("what"):
 *     "object", a pointer to one of Python's; "type", a PyTypeObject;
 *     "definition", a PyModuleDef; "parser", a _PyArg_Parser; "instance",
 *     another object; and the names of functions and variables of Python's that
 *     the file takes from elsewhere
 *   member<TAB>PATH<TAB>BUILDID<TAB>HEXVADDR<TAB>HEXSIZE<TAB>HEXOFFSET
 *     {"member":..}: what the C structs of Python objects that are SIZE bytes
 *     long have at OFFSET, null unless all agree; those of the compilation unit
 *     with the code at HEXVADDR come first
 *
 * each with "debug": whether there is debug information to ask; or
 * {"error":".."}.  HEXVADDR is the address as the ELF file has it: run-time
 * address minus load bias.  BUILDID may be empty; otherwise a file with another
 * one is refused, since its lines would be lies.  In PATH a tab, newline or
 * backslash is written \t, \n, \\.  Bytes of names that are not UTF-8 come as
 * \udcXX, Python's surrogateescape.
 *
 * libdw was not written for hostile files, so the work is done in a child: if
 * a module kills it, the answer for that module is an error and a new child
 * takes over.
 */
#define _GNU_SOURCE
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REQUEST_SECONDS = 60, MAX_DEPTH = 64 };

struct range { Dwarf_Addr lo, hi; Dwarf_Die die; };

/* Sorted by lo once complete. */
struct ranges { struct range *at; size_t n, cap; };

struct variable {
    Dwarf_Addr lo;
    Dwarf_Word size, whole, part;   /* part: where in the variable lo is, if it is not the whole of it */
    char *name;
    Dwarf_Die die;                  /* .addr == NULL: from the symbol table */
};

/* Sorted by lo once complete. */
struct variables { struct variable *at; size_t n, cap; };

/* A C struct that begins with a PyObject. */
struct layout { Dwarf_Word size; Dwarf_Die die; };

struct module {
    struct module *next;
    char *path, *build_id;
    char error[300];                /* "" if usable */
    Dwfl *dwfl;
    Dwfl_Module *mod;
    Dwarf *dwarf;                   /* NULL: no debug information */
    Dwarf_Addr bias;                /* of the DWARF addresses */
    struct ranges units, functions; /* DWARF addresses */
    struct variables vars[2], syms[2];      /* DWARF's and the symbol table's; [1]: thread-local */
    struct layout *layouts;
    size_t n_layouts, cap_layouts;
    bool code_done, data_done, layouts_done;
};

static struct module *modules;

static void *grow(void *array, size_t used, size_t *cap, size_t item)
{
    if (used < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 64;
    array = reallocarray(array, *cap, item);
    if (!array)
        abort();                    /* the parent reports it */
    return array;
}

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...)
{
    char *s;
    va_list ap;
    va_start(ap, format);
    if (vasprintf(&s, format, ap) < 0)
        abort();
    va_end(ap);
    return s;
}

/* ---- JSON ---------------------------------------------------------------- */

/* Length of the valid UTF-8 sequence at s, 0 if there is none. */
static int utf8_length(const unsigned char *s)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    int n = *s >= 0xf0 && *s < 0xf8 ? 4 : *s >= 0xe0 && *s < 0xf0 ? 3 : *s >= 0xc0 && *s < 0xe0 ? 2 : 0;
    if (!n)
        return 0;
    uint32_t c = *s & (0xff >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

static void put_string(FILE *out, const char *string)
{
    if (!string) {
        fputs("null", out);
        return;
    }
    putc('"', out);
    for (const unsigned char *s = (const unsigned char *)string; *s; s++) {
        int n;
        if (*s == '"' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(out, "\\u%04x", *s);
        else if (*s < 0x80)
            putc(*s, out);
        else if ((n = utf8_length(s)) != 0) {
            fwrite(s, 1, n, out);
            s += n - 1;
        } else
            fprintf(out, "\\udc%02x", *s);
    }
    putc('"', out);
}

/* The end of every answer. */
static void put_end(FILE *out, const struct module *m)
{
    fprintf(out, ",\"debug\":%s}\n", m->dwarf ? "true" : "false");
}

static void put_error(FILE *out, const char *message)
{
    fputs("{\"error\":", out);
    put_string(out, message);
    fputs("}\n", out);
}

/* ---- modules ------------------------------------------------------------- */

static char *debuginfo_path;        /* NULL: elfutils' own, the system's directories */
static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &debuginfo_path,
};

static bool build_id_differs(Dwfl_Module *mod, const char *wanted)
{
    const unsigned char *bits;
    GElf_Addr vaddr;
    int n = dwfl_module_build_id(mod, &bits, &vaddr);
    if (!*wanted || n <= 0)
        return false;
    if (strlen(wanted) != 2 * (size_t)n)
        return true;
    for (int i = 0; i < n; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", bits[i]);
        if (strncasecmp(hex, wanted + 2 * i, 2) != 0)
            return true;
    }
    return false;
}

static struct module *module_at(const char *path, const char *build_id)
{
    struct module *m;
    for (m = modules; m; m = m->next)
        if (strcmp(m->path, path) == 0 && strcmp(m->build_id, build_id) == 0)
            return m;
    m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->path = text("%s", path);
    m->build_id = text("%s", build_id);
    m->next = modules;
    modules = m;

    struct stat st;
    if (stat(path, &st) != 0) {
        snprintf(m->error, sizeof m->error, "cannot open it: %s", strerror(errno));
        return m;
    }
    if (!S_ISREG(st.st_mode)) {     /* a FIFO would block us */
        snprintf(m->error, sizeof m->error, "not a regular file");
        return m;
    }
    m->dwfl = dwfl_begin(&callbacks);
    if (m->dwfl) {
        dwfl_report_begin(m->dwfl);
        m->mod = dwfl_report_elf(m->dwfl, path, path, -1, 0, true);
        dwfl_report_end(m->dwfl, NULL, NULL);
    }
    if (!m->mod) {
        snprintf(m->error, sizeof m->error, "not a readable ELF file: %s", dwfl_errmsg(-1));
        return m;
    }
    if (build_id_differs(m->mod, build_id)) {
        snprintf(m->error, sizeof m->error, "the file has changed since it was recorded (its build-id is another)");
        return m;
    }
    m->dwarf = dwfl_module_getdwarf(m->mod, &m->bias);
    /* A file may have nothing but unwind tables. */
    Dwarf_Off next;
    size_t header;
    if (m->dwarf && dwarf_nextcu(m->dwarf, 0, &next, &header, NULL, NULL, NULL) != 0)
        m->dwarf = NULL;
    return m;
}

/* ---- names --------------------------------------------------------------- */

static bool is_cplusplus(Dwarf_Die *die)
{
    Dwarf_Die cu;
    if (!dwarf_diecu(die, &cu, NULL, NULL))
        return false;
    switch (dwarf_srclang(&cu)) {
    case DW_LANG_C_plus_plus: case DW_LANG_C_plus_plus_03:
    case DW_LANG_C_plus_plus_11: case DW_LANG_C_plus_plus_14:
        return true;
    }
    return false;
}

/* The DIE that says where in namespaces and classes this one was declared. */
static Dwarf_Die declaration(Dwarf_Die die)
{
    static const int via[] = { DW_AT_abstract_origin, DW_AT_specification };
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        bool moved = false;
        for (int i = 0; i < 2 && !moved; i++) {
            Dwarf_Attribute attr;
            Dwarf_Die next;
            if (dwarf_attr(&die, via[i], &attr) && dwarf_formref_die(&attr, &next)) {
                die = next;
                moved = true;
            }
        }
        if (!moved)
            break;
    }
    return die;
}

static bool names_a_scope(int tag)
{
    return tag == DW_TAG_namespace || tag == DW_TAG_class_type || tag == DW_TAG_structure_type
        || tag == DW_TAG_union_type;
}

static const char *scope_name(Dwarf_Die *die)
{
    const char *name = dwarf_diename(die);
    return name ? name : dwarf_tag(die) == DW_TAG_namespace ? "(anonymous namespace)" : "(anonymous)";
}

/* "a::b::" before the declaration of die. */
static char *scope_prefix(Dwarf_Die *die)
{
    char *prefix = text("%s", "");
    Dwarf_Die decl = declaration(*die), *scopes = NULL;
    int n = dwarf_getscopes_die(&decl, &scopes);
    for (int i = 1; i < n; i++) {
        if (!names_a_scope(dwarf_tag(&scopes[i])))
            continue;
        char *longer = text("%s::%s", scope_name(&scopes[i]), prefix);
        free(prefix);
        prefix = longer;
    }
    free(scopes);
    return prefix;
}

static char *qualified_name(Dwarf_Die *die)
{
    const char *name = dwarf_diename(die);
    if (!name)
        return NULL;
    if (!is_cplusplus(die))
        return text("%s", name);
    char *prefix = scope_prefix(die), *whole = text("%s%s", prefix, name);
    free(prefix);
    return whole;
}

static void put_file(FILE *out, Dwarf_Die *cu, const char *file)
{
    Dwarf_Attribute attr;
    const char *dir = cu ? dwarf_formstring(dwarf_attr(cu, DW_AT_comp_dir, &attr)) : NULL;
    while (file && strncmp(file, "./", 2) == 0)
        file += 2;
    /* -ffile-prefix-map may have made the directory "." */
    if (!file || *file == '/' || !dir || strcmp(dir, ".") == 0) {
        put_string(out, file);
        return;
    }
    char *whole = text("%s/%s", dir, file);
    put_string(out, whole);
    free(whole);
}

/* ---- code ---------------------------------------------------------------- */

static int by_lo(const void *a, const void *b)
{
    Dwarf_Addr x = *(const Dwarf_Addr *)a, y = *(const Dwarf_Addr *)b;
    return x < y ? -1 : x > y;
}

static void add_ranges(struct ranges *r, Dwarf_Die *die)
{
    Dwarf_Addr base, lo, hi;
    for (ptrdiff_t it = 0; (it = dwarf_ranges(die, it, &base, &lo, &hi)) > 0;) {
        r->at = grow(r->at, r->n, &r->cap, sizeof *r->at);
        r->at[r->n++] = (struct range){ lo, hi, *die };
    }
}

static Dwarf_Die *die_at(struct ranges *r, Dwarf_Addr pc)
{
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (r->at[mid].lo <= pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && pc < r->at[lo - 1].hi ? &r->at[lo - 1].die : NULL;
}

static void index_functions(struct module *m, Dwarf_Die *parent, int depth)
{
    Dwarf_Die die;
    if (depth > MAX_DEPTH || dwarf_child(parent, &die) != 0)
        return;
    do {
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_subprogram)
            add_ranges(&m->functions, &die);
        else if (names_a_scope(tag))
            index_functions(m, &die, depth + 1);
    } while (dwarf_siblingof(&die, &die) == 0);
}

/* Built here rather than taken from .debug_aranges, which clang leaves out,
 * and dwarf_getscopes, which walks the whole unit for every address. */
static void index_code(struct module *m)
{
    Dwarf_Off off = 0, next;
    size_t header;
    m->code_done = true;
    for (; dwarf_nextcu(m->dwarf, off, &next, &header, NULL, NULL, NULL) == 0; off = next) {
        Dwarf_Die unit;
        if (!dwarf_offdie(m->dwarf, off + header, &unit) || dwarf_tag(&unit) != DW_TAG_compile_unit)
            continue;
        add_ranges(&m->units, &unit);
        index_functions(m, &unit, 0);
    }
    if (m->units.n)
        qsort(m->units.at, m->units.n, sizeof *m->units.at, by_lo);
    if (m->functions.n)
        qsort(m->functions.at, m->functions.n, sizeof *m->functions.at, by_lo);
}

/* The inlined calls around pc, outermost first; the function itself is chain[0]. */
static int calls_at(Dwarf_Die *function, Dwarf_Addr pc, Dwarf_Die chain[MAX_DEPTH])
{
    Dwarf_Die at = *function, child;
    int n = 0;
    chain[n++] = at;
    for (int depth = 0; depth < 4 * MAX_DEPTH && n < MAX_DEPTH; depth++) {
        bool inside = false;
        if (dwarf_child(&at, &child) != 0)
            break;
        do {
            int tag = dwarf_tag(&child);
            if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_lexical_block && tag != DW_TAG_subprogram)
                continue;
            if (dwarf_haspc(&child, pc) <= 0)
                continue;
            if (tag == DW_TAG_subprogram)       /* GNU C: a nested function */
                n = 0;
            if (tag != DW_TAG_lexical_block)
                chain[n++] = child;
            at = child;
            inside = true;
            break;
        } while (dwarf_siblingof(&child, &child) == 0);
        if (!inside)
            break;
    }
    return n;
}

static void put_frame(FILE *out, bool first, const char *function, Dwarf_Die *cu, const char *file, int line,
                      int start)
{
    fputs(first ? "{\"function\":" : ",{\"function\":", out);
    put_string(out, function);
    fputs(",\"file\":", out);
    put_file(out, cu, file);
    if (file && line > 0)
        fprintf(out, ",\"line\":%d", line);
    else
        fputs(",\"line\":null", out);
    if (start > 0)
        fprintf(out, ",\"start\":%d}", start);
    else
        fputs(",\"start\":null}", out);
}

static void answer_code(struct module *m, Dwarf_Addr vaddr, FILE *out)
{
    Dwarf_Addr pc = vaddr - m->bias;
    const char *file = NULL;
    int line = 0;
    bool first = true;

    if (m->dwarf && !m->code_done)
        index_code(m);
    Dwarf_Die *unit = die_at(&m->units, pc), *function = die_at(&m->functions, pc);
    Dwarf_Line *row = unit ? dwarf_getsrc_die(unit, pc) : NULL;
    if (row) {
        file = dwarf_linesrc(row, NULL, NULL);
        dwarf_lineno(row, &line);
    }
    fputs("{\"frames\":[", out);
    if (unit && function) {
        Dwarf_Die chain[MAX_DEPTH];
        for (int i = calls_at(function, pc, chain); i-- > 0; first = false) {
            int start = 0;
            char *name = qualified_name(&chain[i]);
            dwarf_decl_line(&chain[i], &start);
            put_frame(out, first, name, unit, file, line, start);
            free(name);

            Dwarf_Attribute attr;
            Dwarf_Word number;
            Dwarf_Files *files;
            size_t n_files;
            file = NULL;
            line = 0;
            if (dwarf_formudata(dwarf_attr(&chain[i], DW_AT_call_file, &attr), &number) == 0
                && dwarf_getsrcfiles(unit, &files, &n_files) == 0 && number < n_files)
                file = dwarf_filesrc(files, number, NULL, NULL);
            if (dwarf_formudata(dwarf_attr(&chain[i], DW_AT_call_line, &attr), &number) == 0)
                line = (int)number;
        }
    }
    if (first) {
        GElf_Off offset;
        GElf_Sym sym;
        const char *name = dwfl_module_addrinfo(m->mod, vaddr, &offset, &sym, NULL, NULL, NULL);
        /* A symbol that ends before the address only happens to be near. */
        if (name && sym.st_size && offset >= sym.st_size)
            name = NULL;
        put_frame(out, true, name, unit, file, line, 0);
    }
    putc(']', out);
    put_end(out, m);
}

/* ---- data ---------------------------------------------------------------- */

static bool type_of(Dwarf_Die *die, Dwarf_Die *type)
{
    Dwarf_Attribute attr;
    return dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attr), type)
        && dwarf_peel_type(type, type) == 0;
}

/* Is the type of a variable or member _Atomic, or in C++ a class like std::atomic?
 * DWARF 4 cannot say so of the first. */
static bool is_atomic(Dwarf_Die *die)
{
    Dwarf_Attribute attr;
    Dwarf_Die type = *die;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        const char *name;
        if (!dwarf_formref_die(dwarf_attr_integrate(&type, DW_AT_type, &attr), &type))
            return false;
        switch (dwarf_tag(&type)) {
        case DW_TAG_atomic_type:
            return true;
        case DW_TAG_structure_type: case DW_TAG_class_type:
            name = dwarf_diename(&type);
            return name && (strncmp(name, "atomic<", 7) == 0 || strcmp(name, "atomic_flag") == 0);
        case DW_TAG_typedef: case DW_TAG_const_type: case DW_TAG_volatile_type:
            break;
        default:
            return false;
        }
    }
    return false;
}

/* Where a variable lies, or a piece of it: its address, or its offset in the module's
 * block of thread-local ones.  False for what is in registers or nowhere. */
static bool static_address(Dwarf_Attribute *attr, Dwarf_Op *ops, size_t n, Dwarf_Addr *address, bool *thread_local)
{
    Dwarf_Attribute operand;
    if (n < 1)
        return false;
    *thread_local = n > 1 && (ops[1].atom == DW_OP_form_tls_address || ops[1].atom == DW_OP_GNU_push_tls_address);
    switch (ops[0].atom) {
    case DW_OP_addr:
        *address = ops[0].number;
        break;
    case DW_OP_const4u: case DW_OP_const8u:
        if (!*thread_local)
            return false;
        *address = ops[0].number;
        break;
    case DW_OP_addrx: case DW_OP_GNU_addr_index: case DW_OP_constx: case DW_OP_GNU_const_index:
        if (dwarf_getlocation_attr(attr, &ops[0], &operand) != 0 || dwarf_formaddr(&operand, address) != 0)
            return false;
        break;
    default:
        return false;
    }
    size_t used = 1 + *thread_local;
    if (n == used + 1 && ops[used].atom == DW_OP_plus_uconst)
        *address += ops[used].number;
    else if (n != used)
        return false;
    return true;
}

/* The file that a variable or type is declared in; what "file" says in clang's
 * DWARF 5, 0, is the compilation unit's own, which dwarf_decl_file() still takes
 * for none, as it was before (elfutils libdw/dwarf_decl_file.c). */
static const char *declared_in(Dwarf_Die *die)
{
    const char *file = dwarf_decl_file(die);
    Dwarf_Attribute attr;
    Dwarf_Word number;
    Dwarf_Die cu;
    Dwarf_Files *files;
    size_t n;
    if (file || dwarf_formudata(dwarf_attr_integrate(die, DW_AT_decl_file, &attr), &number) != 0 || number != 0
        || !dwarf_diecu(die, &cu, NULL, NULL) || dwarf_getsrcfiles(&cu, &files, &n) != 0)
        return file;
    return dwarf_filesrc(files, 0, NULL, NULL);
}

static void add_variable(struct variables *list, struct variable variable)
{
    list->at = grow(list->at, list->n, &list->cap, sizeof *list->at);
    list->at[list->n++] = variable;
}

/* clang -O2 gives the members of a static struct that are used places of their own,
 * and the others none (LLVM's lib/Transforms/IPO/GlobalOpt.cpp). */
static void index_variable(struct module *m, Dwarf_Die *die, const char *prefix)
{
    const char *name = dwarf_diename(die);
    Dwarf_Attribute attr;
    Dwarf_Op *ops;
    size_t n;
    if (!name || !dwarf_attr_integrate(die, DW_AT_location, &attr) || dwarf_getlocation(&attr, &ops, &n) != 0)
        return;
    Dwarf_Die type;
    Dwarf_Word whole = 0, part = 0, size;
    if (!type_of(die, &type) || dwarf_aggregate_size(&type, &whole) != 0)
        whole = 0;
    for (size_t from = 0, to; from < n; from = to + 1, part += size) {
        Dwarf_Addr address;
        bool thread_local;
        for (to = from; to < n && ops[to].atom != DW_OP_piece; to++)
            ;
        size = to < n ? ops[to].number : whole;
        if (!static_address(&attr, ops + from, to - from, &address, &thread_local))
            continue;
        char *scope = dwarf_hasattr(die, DW_AT_specification) ? scope_prefix(die) : NULL;
        add_variable(&m->vars[thread_local], (struct variable){
            thread_local ? address : address + m->bias, size, whole, part,
            text("%s%s", scope && *scope ? scope : prefix, name), *die });
        free(scope);
    }
}

static void index_variables(struct module *m, Dwarf_Die *parent, const char *prefix, int depth)
{
    Dwarf_Die die;
    if (depth > MAX_DEPTH || dwarf_child(parent, &die) != 0)
        return;
    do {
        int tag = dwarf_tag(&die);
        switch (tag) {
        case DW_TAG_variable:
            index_variable(m, &die, prefix);
            break;
        case DW_TAG_namespace:
        case DW_TAG_subprogram: {
            char *inner = tag == DW_TAG_subprogram && is_cplusplus(&die) ? qualified_name(&die) : NULL;
            char *longer = inner ? text("%s::", inner) : text("%s%s::", prefix, scope_name(&die));
            index_variables(m, &die, longer, depth + 1);
            free(inner);
            free(longer);
            break;
        }
        case DW_TAG_lexical_block:
            index_variables(m, &die, prefix, depth + 1);
            break;
        }
    } while (dwarf_siblingof(&die, &die) == 0);
}

static void index_symbols(struct module *m)
{
    int n = dwfl_module_getsymtab(m->mod);
    for (int i = 0; i < n; i++) {
        GElf_Sym sym;
        GElf_Addr address;
        const char *name = dwfl_module_getsym_info(m->mod, i, &sym, &address, NULL, NULL, NULL);
        int type = GELF_ST_TYPE(sym.st_info);
        if (!name || !*name || sym.st_shndx == SHN_UNDEF || sym.st_size == 0)
            continue;
        if (type == STT_OBJECT || type == STT_COMMON || type == STT_TLS)
            add_variable(&m->syms[type == STT_TLS], (struct variable){
                type == STT_TLS ? sym.st_value : address, sym.st_size, sym.st_size, 0, (char *)name, { 0 } });
    }
}

static void index_data(struct module *m)
{
    Dwarf_Off off = 0, next;
    size_t header;
    m->data_done = true;
    for (; m->dwarf && dwarf_nextcu(m->dwarf, off, &next, &header, NULL, NULL, NULL) == 0; off = next) {
        Dwarf_Die cu;
        if (dwarf_offdie(m->dwarf, off + header, &cu))
            index_variables(m, &cu, "", 0);
    }
    index_symbols(m);
    for (int i = 0; i < 2; i++) {
        if (m->vars[i].n)
            qsort(m->vars[i].at, m->vars[i].n, sizeof *m->vars[i].at, by_lo);
        if (m->syms[i].n)
            qsort(m->syms[i].at, m->syms[i].n, sizeof *m->syms[i].at, by_lo);
    }
}

/* The last variable that starts at or before the address and reaches it. */
static struct variable *variable_at(const struct variables *list, Dwarf_Addr address)
{
    struct variable *at = list->at;
    size_t lo = 0, hi = list->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (at[mid].lo <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    /* Aliases of other sizes may start at the same place. */
    for (size_t i = lo; i > 0 && at[i - 1].lo == at[lo - 1].lo; i--)
        if (address == at[i - 1].lo || address - at[i - 1].lo < at[i - 1].size)
            return &at[i - 1];
    return NULL;
}

/* The element type of an array, its size, and the array's dimensions; 0 of them:
 * it cannot be told. */
static int array_dimensions(Dwarf_Die *type, Dwarf_Die *element, Dwarf_Word *size, Dwarf_Word counts[8])
{
    int n = 0;
    Dwarf_Die child;
    if (!type_of(type, element) || dwarf_aggregate_size(element, size) != 0 || *size == 0
        || dwarf_child(type, &child) != 0)
        return 0;
    do {
        Dwarf_Attribute attr;
        Dwarf_Word bound;
        if (dwarf_tag(&child) != DW_TAG_subrange_type || n == 8)
            continue;
        if (dwarf_formudata(dwarf_attr_integrate(&child, DW_AT_count, &attr), &bound) == 0)
            counts[n++] = bound;
        else if (dwarf_formudata(dwarf_attr_integrate(&child, DW_AT_upper_bound, &attr), &bound) == 0)
            counts[n++] = bound + 1;
        else
            counts[n++] = 0;
    } while (dwarf_siblingof(&child, &child) == 0);
    return n;
}

static bool array_element(Dwarf_Die *type, Dwarf_Word *offset, FILE *path, bool *atomic)
{
    Dwarf_Word counts[8], size;
    Dwarf_Die element;
    int n = array_dimensions(type, &element, &size, counts);
    for (int i = 0; i < n; i++) {
        Dwarf_Word stride = size;
        for (int j = i + 1; j < n; j++)
            stride *= counts[j];
        if (stride == 0)
            return false;
        fprintf(path, "[%" PRIu64 "]", *offset / stride);
        *offset %= stride;
    }
    if (n == 0)
        return false;
    *atomic |= is_atomic(type);
    *type = element;
    return true;
}

/* A member, or in C++ a base class. */
static bool is_part(Dwarf_Die *die)
{
    return dwarf_tag(die) == DW_TAG_member || dwarf_tag(die) == DW_TAG_inheritance;
}

static bool struct_member(Dwarf_Die *type, Dwarf_Word *offset, FILE *path, bool *atomic)
{
    Dwarf_Die child;
    if (dwarf_child(type, &child) != 0)
        return false;
    do {
        Dwarf_Attribute attr;
        Dwarf_Word at = 0, size;
        Dwarf_Die inner;
        if (!is_part(&child) || dwarf_hasattr(&child, DW_AT_declaration)
            || dwarf_hasattr(&child, DW_AT_data_bit_offset))
            continue;
        if (dwarf_attr(&child, DW_AT_data_member_location, &attr) && dwarf_formudata(&attr, &at) != 0)
            continue;
        if (at > *offset || !type_of(&child, &inner) || dwarf_aggregate_size(&inner, &size) != 0
            || *offset - at >= size)
            continue;
        const char *name = dwarf_tag(&child) == DW_TAG_member ? dwarf_diename(&child) : NULL;
        if (name)
            fprintf(path, ".%s", name);
        *offset -= at;
        *atomic |= is_atomic(&child);
        *type = inner;
        return true;
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

/* The member and element at an offset in a thing of this type, "" if it is the
 * thing itself; what is left of the offset is "+N".  atomic: set if one of them is.
 * struct_at: stop at the outermost struct there that this holds of. */
static char *element_at(Dwarf_Die type, Dwarf_Word offset, bool *atomic, const char *(*struct_at)(Dwarf_Die *))
{
    char *string = NULL;
    size_t length;
    FILE *path = open_memstream(&string, &length);
    if (!path)
        abort();
    bool deeper = true;
    for (int depth = 0; depth < MAX_DEPTH && deeper; depth++) {
        if (offset == 0 && struct_at && struct_at(&type))
            break;
        switch (dwarf_tag(&type)) {
        case DW_TAG_array_type:
            deeper = array_element(&type, &offset, path, atomic);
            break;
        case DW_TAG_structure_type: case DW_TAG_class_type: case DW_TAG_union_type:
            deeper = struct_member(&type, &offset, path, atomic);
            break;
        default:
            deeper = false;
        }
    }
    if (offset)
        fprintf(path, "+%" PRIu64, offset);
    fclose(path);
    return string;
}

static void put_element(FILE *out, Dwarf_Die *variable, Dwarf_Word offset)
{
    Dwarf_Die type;
    bool atomic = is_atomic(variable);
    char *string = type_of(variable, &type) ? element_at(type, offset, &atomic, NULL)
        : offset ? text("+%" PRIu64, offset) : NULL;
    put_string(out, string && *string ? string : NULL);
    fprintf(out, ",\"atomic\":%s", atomic ? "true" : "false");
    free(string);
}

static void answer_data(struct module *m, Dwarf_Addr vaddr, bool thread_local, FILE *out)
{
    const char *section = NULL;
    Dwarf_Addr section_start = 0, elf_bias, block = 0;
    Elf *elf = dwfl_module_getelf(m->mod, &elf_bias);
    size_t strings, n_segments = 0;
    if (elf)
        elf_getphdrnum(elf, &n_segments);
    for (size_t i = 0; thread_local && i < n_segments; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, i, &segment) && segment.p_type == PT_TLS)
            block = segment.p_vaddr;
    }
    if (elf && elf_getshdrstrndx(elf, &strings) == 0) {
        for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) != NULL;) {
            GElf_Shdr shdr;
            /* .tbss has addresses but no memory of its own. */
            if (!gelf_getshdr(scn, &shdr) || !(shdr.sh_flags & SHF_ALLOC)
                || !(shdr.sh_flags & SHF_TLS) != !thread_local)
                continue;
            Dwarf_Addr start = thread_local ? shdr.sh_addr - block : shdr.sh_addr + elf_bias;
            if (vaddr - start >= shdr.sh_size)
                continue;
            section = elf_strptr(elf, strings, shdr.sh_name);
            section_start = start;
            break;
        }
    }
    if (!m->data_done)
        index_data(m);
    struct variable *v = variable_at(&m->vars[thread_local], vaddr);
    if (!v)
        v = variable_at(&m->syms[thread_local], vaddr);
    if (!v && !section) {
        put_error(out, thread_local ? "no thread-local variable at this offset"
                                    : "no variable and no section at this address");
        return;
    }
    fputs("{\"symbol\":", out);
    put_string(out, v ? v->name : NULL);
    fprintf(out, ",\"offset\":%" PRIu64, v ? vaddr - v->lo + v->part : vaddr - section_start);
    if (v)
        fprintf(out, ",\"size\":%" PRIu64, v->whole);
    else
        fputs(",\"size\":null", out);
    const char *file = NULL;
    int line = 0;
    Dwarf_Die cu, *in_cu = NULL;
    if (v && v->die.addr) {
        file = declared_in(&v->die);
        dwarf_decl_line(&v->die, &line);
        in_cu = dwarf_diecu(&v->die, &cu, NULL, NULL);
    }
    fputs(",\"file\":", out);
    put_file(out, in_cu, file);
    if (file && line > 0)
        fprintf(out, ",\"line\":%d", line);
    else
        fputs(",\"line\":null", out);
    fputs(",\"element\":", out);
    if (v && v->die.addr)
        put_element(out, &v->die, vaddr - v->lo + v->part);
    else
        fputs("null,\"atomic\":false", out);
    fputs(",\"section\":", out);
    put_string(out, section);
    put_end(out, m);
}

/* ---- members of objects --------------------------------------------------- */

/* Is this struct a PyObject (Include/object.h), or does it begin with one: what
 * PyObject_HEAD makes of it, a struct that is itself such an object, or in C++
 * a base class? */
static bool begins_with_object(Dwarf_Die type)
{
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        Dwarf_Die child;
        Dwarf_Attribute attr;
        Dwarf_Word at = 0;
        const char *name = dwarf_diename(&type);
        if (dwarf_tag(&type) != DW_TAG_structure_type && dwarf_tag(&type) != DW_TAG_class_type)
            return false;
        if (name && strcmp(name, "_object") == 0)
            return true;
        if (dwarf_child(&type, &child) != 0)
            return false;
        while (!is_part(&child))
            if (dwarf_siblingof(&child, &child) != 0)
                return false;
        if ((dwarf_attr(&child, DW_AT_data_member_location, &attr) && dwarf_formudata(&attr, &at) != 0) || at != 0
            || !type_of(&child, &type))
            return false;
    }
    return false;
}

static void index_layouts_in(struct module *m, Dwarf_Die *parent, int depth)
{
    Dwarf_Die die;
    if (depth > MAX_DEPTH || dwarf_child(parent, &die) != 0)
        return;
    do {
        int tag = dwarf_tag(&die);
        int size = tag == DW_TAG_structure_type || tag == DW_TAG_class_type ? dwarf_bytesize(&die) : -1;
        if (size > 0 && begins_with_object(die)) {
            m->layouts = grow(m->layouts, m->n_layouts, &m->cap_layouts, sizeof *m->layouts);
            m->layouts[m->n_layouts++] = (struct layout){ size, die };
        }
        if (names_a_scope(tag) || tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block)
            index_layouts_in(m, &die, depth + 1);
    } while (dwarf_siblingof(&die, &die) == 0);
}

static void index_layouts(struct module *m)
{
    Dwarf_Off off = 0, next;
    size_t header;
    m->layouts_done = true;
    for (; m->dwarf && dwarf_nextcu(m->dwarf, off, &next, &header, NULL, NULL, NULL) == 0; off = next) {
        Dwarf_Die cu;
        if (dwarf_offdie(m->dwarf, off + header, &cu))
            index_layouts_in(m, &cu, 0);
    }
}

/* The name of a file without directory and extension; its length. */
static int stem(const char **file)
{
    const char *slash = strrchr(*file, '/'), *dot;
    *file = slash ? slash + 1 : *file;
    dot = strrchr(*file, '.');
    return (int)(dot ? (size_t)(dot - *file) : strlen(*file));
}

/* How near a struct is to the code of its type: 2 more if it is known where that
 * was compiled, 1 more if it was written in the same source file or its header,
 * as CPython's own are.  After link-time optimisation code is in other units
 * than types are. */
static int nearness(Dwarf_Die *type, Dwarf_Die *unit, const char *source)
{
    Dwarf_Die cu;
    const char *file = declared_in(type);
    int near = unit && dwarf_diecu(type, &cu, NULL, NULL) && dwarf_dieoffset(&cu) == dwarf_dieoffset(unit) ? 2 : 0;
    if (file && source) {
        int n = stem(&file);
        near += n == stem(&source) && strncmp(file, source, n) == 0;
    }
    return near;
}

static void answer_member(struct module *m, Dwarf_Addr vaddr, Dwarf_Word size, Dwarf_Word offset, FILE *out)
{
    if (m->dwarf && !m->code_done)
        index_code(m);
    if (!m->layouts_done)
        index_layouts(m);
    Dwarf_Die *unit = die_at(&m->units, vaddr - m->bias);
    Dwarf_Line *row = unit ? dwarf_getsrc_die(unit, vaddr - m->bias) : NULL;
    const char *source = row ? dwarf_linesrc(row, NULL, NULL) : NULL;
    char *name = NULL;
    int nearest = -1;
    bool agreed = false;
    for (size_t i = 0; i < m->n_layouts; i++) {
        struct layout *layout = &m->layouts[i];
        int near = layout->size == size && offset < size ? nearness(&layout->die, unit, source) : -1;
        if (near < 0 || near < nearest)
            continue;
        bool atomic = false;
        char *path = element_at(layout->die, offset, &atomic, NULL);
        agreed = near > nearest || (agreed && strcmp(path, name) == 0);
        nearest = near;
        free(name);
        name = path;
    }
    /* "+N": within a member, or between two. */
    agreed = agreed && *name == '.' && !strchr(name, '+');
    fputs("{\"member\":", out);
    put_string(out, agreed ? name + 1 : NULL);
    put_end(out, m);
    free(name);
}

/* ---- statics that have to do with objects ---------------------------------- */

/* What is looked for in a variable, and where it is. */
struct parts { FILE *out; int n; };

static bool is_type_object(Dwarf_Die *type)
{
    const char *name = dwarf_diename(type);
    return name && strcmp(name, "_typeobject") == 0;
}

/* What a struct is to Python, or NULL (the tags are CPython's: Include/cpython/object.h,
 * Include/moduleobject.h, Include/cpython/modsupport.h). */
static const char *python_struct(Dwarf_Die *type)
{
    const char *name = dwarf_diename(type);
    if (dwarf_tag(type) != DW_TAG_structure_type && dwarf_tag(type) != DW_TAG_class_type)
        return NULL;
    if (is_type_object(type))
        return "type";
    if (name && strcmp(name, "PyModuleDef") == 0)
        return "definition";
    if (name && strcmp(name, "_PyArg_Parser") == 0)
        return "parser";
    return begins_with_object(*type) ? "instance" : NULL;
}

static void put_part(struct parts *parts, const char *what, Dwarf_Die whole, Dwarf_Word offset)
{
    bool atomic = false;
    char *element = element_at(whole, offset, &atomic, python_struct);
    fputs(parts->n++ ? ",{\"what\":" : "{\"what\":", parts->out);
    put_string(parts->out, what);
    fprintf(parts->out, ",\"offset\":%" PRIu64 ",\"element\":", offset);
    put_string(parts->out, element);
    putc('}', parts->out);
    free(element);
}

static bool points_to_object(Dwarf_Die *pointer)
{
    Dwarf_Die to;
    return type_of(pointer, &to) && begins_with_object(to);
}

static void find_parts(struct parts *parts, Dwarf_Die whole, Dwarf_Die type, Dwarf_Word offset, int depth)
{
    enum { MOST_PARTS = 1000 };
    Dwarf_Die child, inner;
    Dwarf_Word size, counts[8];
    const char *what;
    if (depth > MAX_DEPTH || parts->n >= MOST_PARTS)
        return;
    switch (dwarf_tag(&type)) {
    case DW_TAG_pointer_type:
        if (points_to_object(&type))
            put_part(parts, "object", whole, offset);
        break;
    case DW_TAG_array_type: {
        int n = array_dimensions(&type, &inner, &size, counts), before = parts->n;
        Dwarf_Word count = n > 0;
        while (n-- > 0)
            count *= counts[n];
        for (; count > 0 && parts->n < MOST_PARTS; count--, offset += size) {
            find_parts(parts, whole, inner, offset, depth + 1);
            if (parts->n == before)
                break;              /* nor have the others any */
        }
        break;
    }
    case DW_TAG_structure_type: case DW_TAG_class_type: case DW_TAG_union_type:
        what = python_struct(&type);
        if (what)
            put_part(parts, what, whole, offset);
        if ((what && strcmp(what, "instance") != 0) || dwarf_child(&type, &child) != 0)
            break;
        do {
            Dwarf_Attribute attr;
            Dwarf_Word at = 0;
            if (!is_part(&child) || dwarf_hasattr(&child, DW_AT_declaration)
                || (dwarf_attr(&child, DW_AT_data_member_location, &attr) && dwarf_formudata(&attr, &at) != 0)
                || !type_of(&child, &inner))
                continue;
            if (what && at == 0 && !is_type_object(&inner))
                continue;           /* the object's header */
            find_parts(parts, whole, inner, offset + at, depth + 1);
        } while (dwarf_siblingof(&child, &child) == 0);
        break;
    }
}

/* In memory that stays writable once the dynamic linker is done. */
static bool is_writable(struct module *m, Dwarf_Addr address)
{
    GElf_Addr bias;
    Elf *elf = dwfl_module_getelf(m->mod, &bias);
    size_t n = 0;
    bool writable = false;
    if (!elf || elf_getphdrnum(elf, &n) != 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        GElf_Phdr segment;
        if (!gelf_getphdr(elf, i, &segment) || address - (segment.p_vaddr + bias) >= segment.p_memsz)
            continue;
        if (segment.p_type == PT_GNU_RELRO)
            return false;
        writable |= segment.p_type == PT_LOAD && segment.p_flags & PF_W;
    }
    return writable;
}

/* The undefined symbols of the dynamic symbol table. */
static void put_imports(FILE *out, struct module *m)
{
    GElf_Addr bias;
    Elf *elf = dwfl_module_getelf(m->mod, &bias);
    bool first = true;
    for (Elf_Scn *scn = NULL; elf && (scn = elf_nextscn(elf, scn)) != NULL;) {
        GElf_Shdr shdr;
        Elf_Data *data;
        if (!gelf_getshdr(scn, &shdr) || shdr.sh_type != SHT_DYNSYM || shdr.sh_entsize == 0
            || !(data = elf_getdata(scn, NULL)))
            continue;
        for (size_t i = 1; i < shdr.sh_size / shdr.sh_entsize; i++) {
            GElf_Sym sym;
            const char *name = gelf_getsym(data, (int)i, &sym) ? elf_strptr(elf, shdr.sh_link, sym.st_name) : NULL;
            if (!name || sym.st_shndx != SHN_UNDEF || (strncmp(name, "Py", 2) != 0 && strncmp(name, "_Py", 3) != 0))
                continue;
            fputs(first ? "" : ",", out);
            put_string(out, name);
            first = false;
        }
    }
}

static void answer_statics(struct module *m, FILE *out)
{
    bool first = true;
    if (!m->data_done)
        index_data(m);
    fputs("{\"statics\":[", out);
    for (size_t i = 0; i < m->vars[0].n; i++) {
        struct variable *v = &m->vars[0].at[i];
        char *found = NULL;
        size_t length;
        struct parts parts = { open_memstream(&found, &length), 0 };
        Dwarf_Die type, cu;
        int line = 0;
        if (!parts.out)
            abort();
        if (v->size == v->whole && type_of(&v->die, &type) && is_writable(m, v->lo))
            find_parts(&parts, type, type, 0, 0);
        fclose(parts.out);
        if (parts.n) {
            const char *file = declared_in(&v->die);
            dwarf_decl_line(&v->die, &line);
            fputs(first ? "{\"symbol\":" : ",{\"symbol\":", out);
            put_string(out, v->name);
            fprintf(out, ",\"address\":%" PRIu64 ",\"size\":%" PRIu64 ",\"file\":", v->lo, v->size);
            put_file(out, dwarf_diecu(&v->die, &cu, NULL, NULL), file);
            fprintf(out, file && line > 0 ? ",\"line\":%d" : ",\"line\":null", line);
            fprintf(out, ",\"parts\":[%s]}", found);
            first = false;
        }
        free(found);
    }
    fputs("],\"imports\":[", out);
    put_imports(out, m);
    putc(']', out);
    put_end(out, m);
}

/* ---- requests ------------------------------------------------------------ */

static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++, to++) {
        if (*s == '\\' && s[1]) {
            s++;
            *to = *s == 't' ? '\t' : *s == 'n' ? '\n' : *s;
        } else
            *to = *s;
    }
    *to = '\0';
}

static void answer(char *request, FILE *out)
{
    static const struct { const char *name; int numbers; } requests[] = {
        { "code", 1 }, { "data", 1 }, { "tls", 1 }, { "member", 3 }, { "statics", 0 },
    };
    enum { CODE, DATA, TLS, MEMBER, STATICS, REQUESTS };
    char *rest = request, *word = strsep(&rest, "\t"), *path = strsep(&rest, "\t"), *build_id = strsep(&rest, "\t");
    uint64_t number[3] = { 0 };
    int what = 0, n = 0;
    while (what < REQUESTS && strcmp(word, requests[what].name) != 0)
        what++;
    errno = 0;
    for (; n < 3 && rest; n++) {
        char *hex = strsep(&rest, "\t"), *end;
        number[n] = strtoull(hex, &end, 16);
        if (!*hex || *end || errno)
            break;
    }
    if (what == REQUESTS || !build_id || n != requests[what].numbers || rest) {
        put_error(out, "a request is code, data, tls, member or statics, then path, build-id and hexadecimal numbers,"
                       " with tabs between");
        return;
    }
    unescape(path);
    struct module *m = module_at(path, build_id);
    if (*m->error)
        put_error(out, m->error);
    else if (what == CODE)
        answer_code(m, number[0], out);
    else if (what == STATICS)
        answer_statics(m, out);
    else if (what == MEMBER)
        answer_member(m, number[0], number[1], number[2], out);
    else
        answer_data(m, number[0], what == TLS, out);
}

static void work(FILE *in, FILE *out)
{
    static const struct rlimit no_core = { 0, 0 };
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGALRM, SIG_DFL);
    while ((n = getline(&line, &cap, in)) > 0) {
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        alarm(REQUEST_SECONDS);     /* damaged files can loop, too */
        answer(line, out);
        alarm(0);
        fflush(out);
    }
    _exit(0);
}

struct worker { pid_t pid; FILE *to, *from; };

static bool start(struct worker *w)
{
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0)
        return false;
    fflush(stdout);
    w->pid = fork();
    if (w->pid < 0)
        return false;
    if (w->pid == 0) {
        close(to[1]);
        close(from[0]);
        work(fdopen(to[0], "r"), fdopen(from[1], "w"));
    }
    close(to[0]);
    close(from[1]);
    w->to = fdopen(to[1], "w");
    w->from = fdopen(from[0], "r");
    return w->to && w->from;
}

static int stop(struct worker *w)
{
    int status = 0;
    fclose(w->to);
    fclose(w->from);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
        ;
    *w = (struct worker){ 0 };
    return status;
}

/* Modules that killed a worker: asked about once, not once an address. */
struct killer { struct killer *next; char *path; char *message; };
static struct killer *killers;

static const char *path_end(const char *line, const char **begin)
{
    *begin = strchr(line, '\t');
    const char *end = *begin ? strchr(++*begin, '\t') : NULL;
    return end;
}

static const char *known_killer(const char *line)
{
    const char *path, *end = path_end(line, &path);
    if (end)
        for (struct killer *k = killers; k; k = k->next)
            if (strlen(k->path) == (size_t)(end - path) && strncmp(k->path, path, end - path) == 0)
                return k->message;
    return NULL;
}

static const char *new_killer(const char *line, int status)
{
    const char *path, *end = path_end(line, &path);
    struct killer *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    k->message = text(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM
                      ? "reading its debug information took over %d seconds: is the file damaged?"
                      : "reading its debug information crashed (status 0x%x): is the file damaged?",
                      WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? REQUEST_SECONDS : status);
    k->path = end ? strndup(path, end - path) : text("%s", "");
    k->next = killers;
    killers = k;
    return k->message;
}

int main(int argc, char **argv)
{
    static const char option[] = "--debuginfo-path=";
    if (argc == 2 && strncmp(argv[1], option, strlen(option)) == 0)
        debuginfo_path = argv[1] + strlen(option);
    else if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0;
        fputs("usage: isan-symbolize [--debuginfo-path=DIR:..] <REQUESTS\n"
              "Each line: code|data|tls|member|statics, path, build-id or nothing, hexadecimal numbers; tabs between.\n"
              "Answers each with a line of JSON: the frames at a code address, the variable at a data address\n"
              "or an offset of thread-local ones, the member of an object at an offset,\n"
              "the statics that have to do with objects.\n",
              help ? stdout : stderr);
        return help ? 0 : 2;
    }
    struct worker w = { 0 };
    char *line = NULL, *reply = NULL;
    size_t line_cap = 0, reply_cap = 0;
    unsetenv("DEBUGINFOD_URLS");    /* a report must not depend on the network */
    signal(SIGPIPE, SIG_IGN);
    while (getline(&line, &line_cap, stdin) > 0) {
        const char *error = known_killer(line);
        if (!error && !w.pid && !start(&w)) {
            fprintf(stderr, "isan-symbolize: cannot start its worker: %s\n", strerror(errno));
            return 1;
        }
        if (!error) {
            size_t n = strlen(line);
            fputs(line, w.to);
            if (n == 0 || line[n - 1] != '\n')
                putc('\n', w.to);
            fflush(w.to);
            if (getline(&reply, &reply_cap, w.from) > 0 && reply[strlen(reply) - 1] == '\n')
                fputs(reply, stdout);
            else
                error = new_killer(line, stop(&w));
        }
        if (error)
            put_error(stdout, error);
        if (fflush(stdout) != 0)
            break;
    }
    if (w.pid)
        stop(&w);
    return ferror(stdout) ? 1 : 0;
}
