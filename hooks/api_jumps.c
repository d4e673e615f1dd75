/* Wrappers that jump, for functions with a variable number of arguments, with more than six
 * arguments or with a double among them.
 *
 * A wrapper in C cannot call such a function, as it does not know how many arguments are on
 * the stack.  So a wrapper here saves the registers of the arguments (System V ABI, x86-64),
 * checks the arguments, restores the registers, and jumps to the function.  The function
 * returns to the extension.
 */
#include "hooks/api_jumps.h"

#include "runtime/base/check.h"
#include "runtime/core/finding.h"
#include "runtime/detect/gilstate.h"

/* --- the arguments ------------------------------------------------------------------ */

/* The registers that the assembler below saves.  va_list has the same ones. */
struct saved_registers {
    isan__word integer[6];
    isan__word unused[2];
    struct { double value, high; } vector[8];
};

struct arguments {
    const struct saved_registers *saved;
    const isan__word *stack;
    unsigned integers, doubles;             /* so many of each have been read */
};

static isan__word
next_word(struct arguments *args)
{
    return args->integers < 6 ? args->saved->integer[args->integers++] : *args->stack++;
}

static void
skip_double(struct arguments *args)
{
    if (args->doubles < 8) {
        args->doubles++;
    }
    else {
        args->stack++;
    }
}

/* The arguments that a format of Py_BuildValue() names (Python/modsupport.c,
 * do_mkvalue()). */
static void
check_format(const char *format, struct arguments *args, void *pc)
{
    for (; format != NULL && *format != 0; format++) {
        switch (*format) {
        case 'N': case 'S': case 'O':
            if (format[1] == '&') {
                format++;
                next_word(args);
                next_word(args);
            }
            else {
                isan__api_check_object(next_word(args), ISAN__ACCESS_argument, pc);
            }
            break;
        case 'd': case 'f':
            skip_double(args);
            break;
        case 'u': case 'U': case 's': case 'z': case 'y':
            next_word(args);
            if (format[1] == '#') {
                format++;
                next_word(args);
            }
            break;
        case '(': case ')': case '[': case ']': case '{': case '}':
        case ',': case ':': case ' ': case '\t':
            break;
        default:                            /* a number or the address of one */
            next_word(args);
        }
    }
}

/* --- the wrappers ------------------------------------------------------------------- */

/* Called by the assembler below.  Returns the address that it is to jump to. */
ISAN__HIDDEN isan__function isan__api_check_jump(const struct saved_registers *saved,
    const isan__word *stack, int row, void *pc);

isan__function
isan__api_check_jump(const struct saved_registers *saved, const isan__word *stack, int row, void *pc)
{
    struct arguments args = { saved, stack, 0, 0 };
    isan__word arg = 0;
    if (ISAN__UNLIKELY(isan__slot == 0)) {
        isan__gilstate_check_call(isan__api_rows[row].name, pc);
    }
    for (const char *l = isan__api_rows[row].letters; isan__slot != 0 && *l != 0; l++) {
        isan__word last = arg;
        switch (*l) {
        case '*':
            while ((arg = next_word(&args)) != 0) {
                isan__api_check_object(arg, ISAN__ACCESS_argument, pc);
            }
            break;
        case '+':
            for (isan__word i = 0; i < last; i++) {
                isan__api_check_object(next_word(&args), ISAN__ACCESS_argument, pc);
            }
            break;
        case 'f':
            check_format((const char *)next_word(&args), &args, pc);
            break;
        default:
            arg = next_word(&args);
            isan__api_check_argument(*l, arg, args.integers < 6 ? saved->integer[args.integers] : *args.stack, row,
                                     pc);
        }
    }
    ISAN__ASSERT(isan__holds_no_lock());
    return isan__api_real[row];
}

/* One short wrapper for each function, which loads the function's row, and the code that
 * all of them share.  `isan__row` counts in step with the enum in api_checks.h. */
#define ISAN_API(name, arguments, result) ".set isan__row, isan__row + 1\n"
#define ISAN_API_SLOT(name, arguments, result) ISAN_API(name, arguments, result)
#define ISAN_API_JUMP(name, arguments)                                          \
    ".globl isan__jump_" #name "\n"                                             \
    ".hidden isan__jump_" #name "\n"                                            \
    ".type isan__jump_" #name ", @function\n"                                   \
    "isan__jump_" #name ":\n"                                                   \
    "    .cfi_startproc\n"                                                      \
    "    movl $isan__row, %r11d\n"                                              \
    "    jmp check_and_jump\n"                                                  \
    "    .cfi_endproc\n"                                                        \
    ".size isan__jump_" #name ", . - isan__jump_" #name "\n"                    \
    ".set isan__row, isan__row + 1\n"
__asm__(
    ".text\n"
    ".set isan__row, 0\n"
#include "hooks/api.inc"
    ".type check_and_jump, @function\n"
    "check_and_jump:\n"
    "    .cfi_startproc\n"
    "    pushq %rbp\n"
    "    .cfi_def_cfa_offset 16\n"
    "    .cfi_offset %rbp, -16\n"
    "    movq %rsp, %rbp\n"
    "    .cfi_def_cfa_register %rbp\n"
    "    subq $192, %rsp\n"
    "    movq %rdi, 0(%rsp)\n"
    "    movq %rsi, 8(%rsp)\n"
    "    movq %rdx, 16(%rsp)\n"
    "    movq %rcx, 24(%rsp)\n"
    "    movq %r8, 32(%rsp)\n"
    "    movq %r9, 40(%rsp)\n"
    "    movq %rax, 48(%rsp)\n"             /* al: the vector registers used */
    "    movaps %xmm0, 64(%rsp)\n"
    "    movaps %xmm1, 80(%rsp)\n"
    "    movaps %xmm2, 96(%rsp)\n"
    "    movaps %xmm3, 112(%rsp)\n"
    "    movaps %xmm4, 128(%rsp)\n"
    "    movaps %xmm5, 144(%rsp)\n"
    "    movaps %xmm6, 160(%rsp)\n"
    "    movaps %xmm7, 176(%rsp)\n"
    "    movq %rsp, %rdi\n"
    "    leaq 16(%rbp), %rsi\n"
    "    movl %r11d, %edx\n"
    "    movq 8(%rbp), %rcx\n"
    "    call isan__api_check_jump\n"
    "    movq %rax, %r11\n"
    "    movq 0(%rsp), %rdi\n"
    "    movq 8(%rsp), %rsi\n"
    "    movq 16(%rsp), %rdx\n"
    "    movq 24(%rsp), %rcx\n"
    "    movq 32(%rsp), %r8\n"
    "    movq 40(%rsp), %r9\n"
    "    movq 48(%rsp), %rax\n"
    "    movaps 64(%rsp), %xmm0\n"
    "    movaps 80(%rsp), %xmm1\n"
    "    movaps 96(%rsp), %xmm2\n"
    "    movaps 112(%rsp), %xmm3\n"
    "    movaps 128(%rsp), %xmm4\n"
    "    movaps 144(%rsp), %xmm5\n"
    "    movaps 160(%rsp), %xmm6\n"
    "    movaps 176(%rsp), %xmm7\n"
    "    leave\n"
    "    .cfi_def_cfa %rsp, 8\n"
    "    jmp *%r11\n"
    "    .cfi_endproc\n"
    ".size check_and_jump, . - check_and_jump\n"
);
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP
