# The files that each unit test of C is linked from, besides itself: NAME_FILES for tests/unit/c/NAME_test.c.
BASE_FILES   = runtime/base/check.c runtime/base/lock.c runtime/base/os.c runtime/base/sanitizer.c runtime/base/table.c
# Of the tests with interps.h, which make up interpreters.
INTERP_FILES = $(BASE_FILES) runtime/base/options.c runtime/core/interp.c runtime/core/shadow.c
BLOCK_FILES  = $(INTERP_FILES) runtime/core/block.c runtime/core/block_notes.c runtime/core/events.c \
               runtime/core/thread.c runtime/cpython/object.c

events_FILES      = runtime/base/check.c runtime/base/os.c runtime/core/events.c
lock_FILES        = $(BASE_FILES)
options_FILES     = runtime/base/options.c runtime/base/os.c
options_LIBS      = -rdynamic
os_FILES          = runtime/base/os.c
scan_FILES        = runtime/base/os.c
table_FILES       = runtime/base/check.c runtime/base/lock.c runtime/base/os.c runtime/base/table.c

modules_FILES     = $(BASE_FILES) runtime/elf/imports.c runtime/elf/module.c runtime/elf/modules.c
modules_LIBS      = -rdynamic
x86_decode_FILES  = runtime/elf/x86_decode.c

object_FILES      = runtime/base/os.c runtime/cpython/object.c

block_FILES       = $(BLOCK_FILES)
block_notes_FILES = $(BLOCK_FILES)
finding_FILES     = $(log_FILES) runtime/core/block.c runtime/core/finding.c runtime/core/interp.c runtime/core/shadow.c \
                    runtime/core/thread.c runtime/cpython/layout.c runtime/cpython/object.c runtime/elf/imports.c \
                    runtime/elf/module.c runtime/elf/modules.c
interp_FILES      = $(INTERP_FILES)
log_FILES         = $(BASE_FILES) runtime/base/options.c runtime/core/events.c runtime/core/log.c
quarantine_FILES  = $(BLOCK_FILES) runtime/core/quarantine.c
shadow_FILES      = runtime/base/check.c runtime/base/options.c runtime/base/os.c runtime/base/sanitizer.c \
                    runtime/core/shadow.c
transfer_FILES    = $(BLOCK_FILES) runtime/core/transfer.c

refgraph_FILES    = $(BASE_FILES) runtime/base/options.c runtime/cpython/object.c runtime/detect/refgraph.c
