# The files that each unit test of C is linked from, besides itself: NAME_FILES for tests/unit/c/NAME_test.c.
table_FILES      = runtime/base/table.c runtime/base/lock.c runtime/base/check.c runtime/base/os.c
x86_decode_FILES = runtime/elf/x86_decode.c
shadow_FILES     = runtime/core/shadow.c runtime/base/check.c runtime/base/os.c runtime/base/sanitizer.c
