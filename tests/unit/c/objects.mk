# The files that each unit test of C is linked from, besides itself: NAME_FILES for tests/unit/c/NAME_test.c.
table_FILES      = runtime/base/table.c runtime/base/lock.c runtime/base/check.c runtime/base/os.c
x86_decode_FILES = runtime/elf/x86_decode.c
shadow_FILES     = runtime/core/shadow.c runtime/base/check.c runtime/base/os.c runtime/base/sanitizer.c
BASE_FILES       = runtime/base/check.c runtime/base/lock.c runtime/base/os.c runtime/base/sanitizer.c runtime/base/table.c
lock_FILES       = $(BASE_FILES)
log_FILES        = $(BASE_FILES) runtime/base/options.c runtime/core/events.c runtime/core/log.c
finding_FILES    = $(log_FILES) runtime/core/block.c runtime/core/finding.c runtime/core/interp.c runtime/core/shadow.c \
                   runtime/core/thread.c runtime/cpython/layout.c runtime/cpython/object.c runtime/elf/imports.c \
                   runtime/elf/modules.c
options_FILES    = runtime/base/options.c runtime/base/os.c
options_LIBS     = -rdynamic
os_FILES         = runtime/base/os.c
scan_FILES       = runtime/base/os.c
events_FILES     = runtime/base/check.c runtime/base/os.c runtime/core/events.c
# Those that have interps.h, with interpreters that they make up.
INTERP_FILES     = $(BASE_FILES) runtime/base/options.c runtime/core/interp.c runtime/core/shadow.c
interp_FILES     = $(INTERP_FILES)
BLOCK_FILES      = $(INTERP_FILES) runtime/core/block.c runtime/core/block_notes.c runtime/core/events.c runtime/core/thread.c \
                   runtime/cpython/object.c
block_notes_FILES = $(BLOCK_FILES)
transfer_FILES   = $(BLOCK_FILES) runtime/core/transfer.c
quarantine_FILES = $(BLOCK_FILES) runtime/core/quarantine.c
object_FILES     = runtime/base/os.c runtime/cpython/object.c
block_FILES      = $(BLOCK_FILES)
modules_FILES    = $(BASE_FILES) runtime/elf/imports.c runtime/elf/modules.c
modules_LIBS     = -rdynamic
refgraph_FILES   = $(BASE_FILES) runtime/base/options.c runtime/cpython/object.c runtime/detect/refgraph.c
