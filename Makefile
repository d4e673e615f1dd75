# isan: the front door.  `make help` lists the targets.

# The Python that runs isan's own scripts and tests, not one under test.
PYTHON  ?= /usr/bin/python3
PREFIX  ?= /usr/local
CC      ?= cc
CFLAGS  ?= -O2 -g
WERROR  ?=

ISAN_CFLAGS = -std=gnu11 -fPIC -Wall -Wextra $(WERROR) -fvisibility=hidden \
              -ftls-model=initial-exec -I. -Iinclude -MMD -MP $(CFLAGS)

# The compiler, or a sentence that says what to do when there is none.
cc = $(if $(shell command -v $(firstword $(CC))),$(CC),$(error isan: there is no C compiler '$(CC)': run 'make deps', or set CC=))

# What implements a function of the C library's is no call of it.
LIBC_CFLAGS = -fno-builtin -fno-tree-loop-distribute-patterns

RUNTIME_OBJ := $(patsubst %.c,build/obj/%.o,$(wildcard runtime/*.c runtime/*/*.c hooks/*.c))
SYMBOLIZE_OBJ := $(patsubst %.c,build/obj/%.o,$(wildcard reports/symbolize/*.c))
# The C tables that Python needs, too: of kinds of findings, and of options.
C_TABLES    := runtime/core/kinds.inc runtime/base/options.inc
SCRIPTS     := $(wildcard scripts/*.py scripts/isan/*.py scripts/isan/*/*.py reports/*.py reports/*/*.py \
                          tests/*.py tests/*/*.py tests/unit/c/*.py tests/bench/workloads/*.py)
SHELL_FILES := .ci/run scripts/isan.sh $(filter-out scripts/isan.sh,$(wildcard scripts/*.sh scripts/ci/*.sh tests/fuzz/*.sh))
LINT_C      := $(wildcard runtime/*.c runtime/*/*.c hooks/*.c reports/symbolize/*.c scripts/cpython/launcher.c)
# C that clang-format keeps as it is, and what `make format` formats.
FORMATTED_C := $(wildcard reports/symbolize/*.[ch] scripts/cpython/launcher.c tests/unit/c/*.[ch])
CLANG_FORMAT ?= clang-format-19
# Allowed besides what pycodestyle allows itself: tabs in texts (E101, W191), any indentation of continuation lines (E127,
# E128), imports after sys.path is set (E402), long lines (E501), short lambdas (E731), and the name `l` (E741).
PYCODESTYLE = --ignore=E101,E121,E123,E126,E127,E128,E226,E24,E402,E501,E704,E731,E741,W191,W503,W504

# The unit tests to run: all, or those of the name in UNIT.
UNIT_NAMES    := $(patsubst tests/unit/c/%_test.c,%,$(wildcard tests/unit/c/*_test.c))
UNIT_PROGRAMS := $(patsubst %,build/unit/%_test,$(if $(UNIT),$(filter $(UNIT),$(UNIT_NAMES)),$(UNIT_NAMES)))
UNIT_PYTHON   := $(if $(UNIT),$(wildcard tests/unit/test_$(UNIT).py),tests/unit)

# The end-to-end tests that make checked runs.
CHECKED_TESTS ?= $(patsubst %,tests/detect/test_%.py,findings leaks static_scan)

# How many tests run at a time (auto: a CPU each), and under what: version-flavor.
JOBS    ?= auto
PYTHONS ?= 3.13-fast 3.13-debug 3.13-tsan 3.13-plain 3.14-fast 3.14-plain

# CPython's own that tell most about interpreters; all of them take an hour for each interpreter.
CPYTHON_TESTS ?= test_interpreters test__interpreters test__interpchannels test_capi test_embed test_import test_gc test_threading

isan = build/bin/isan
# $(call python,FLAVOR,VERSION)
python = $(isan) python --flavor $(1) --version $(2)
hash := \#
# $(call pythons,VERSION-FLAVOR ...), whose configure scripts ask the same things.
pythons = set -e; cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; export ISAN__CONFIGURE_CACHE="$$cache"; \
    for p in $(1); do $(call python,$${p$(hash)*-},$${p%-*}); done

.PHONY: all help deps python demo test unit checked fresh cpython races bench fuzz soak lint layers format pycodestyle install wheel clean
.DEFAULT_GOAL := all

all: build/lib/libisan.so build/libexec/isan-symbolize build/libexec/isan-python build/generated/_c_tables.py build/bin/isan ## build the recorder, the symbolizer and the isan command

help: ## list the targets
	@echo "make TARGET, where TARGET is"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

deps: ## install what is missing through apt (DEPS="build test lint")
	@PYTHON='$(PYTHON)' scripts/deps.sh $(or $(DEPS),build test)

python: all ## build a CPython (FLAVOR=fast|debug|tsan|plain VERSION=3.13|3.14 SOURCE=tree or tarball)
	$(isan) python $(if $(FLAVOR),--flavor $(FLAVOR)) $(if $(VERSION),--version $(VERSION)) $(if $(SOURCE),--source '$(SOURCE)')

demo: DEPS := $(or $(DEPS),build)
demo: deps ## two programs under the fast interpreter (LOG=DIR keeps their logs)
	$(MAKE) all
	$(MAKE) python FLAVOR=fast
	LOG='$(LOG)' scripts/demo.sh

test: deps ## run the tests (PYTEST_ARGS=, JOBS=, PYTHONS="3.13-fast ...")
	$(MAKE) all
	$(MAKE) --no-print-directory unit UNIT_PYTHON=
	$(call pythons,$(PYTHONS))
	$(PYTHON) -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile tests $(PYTEST_ARGS)

unit: ## the unit tests, of C under AddressSanitizer and UBSan, and of Python (UNIT=NAME: only those of that name)
	$(if $(UNIT_PROGRAMS)$(UNIT_PYTHON),,$(error isan: there is neither tests/unit/c/$(UNIT)_test.c nor tests/unit/test_$(UNIT).py))
	@[ -z '$(UNIT_PROGRAMS)' ] || $(MAKE) --no-print-directory --silent -j$$(nproc) $(UNIT_PROGRAMS)
	@[ -z '$(UNIT_PROGRAMS)' ] || $(PYTHON) tests/unit/c/run.py $(UNIT_PROGRAMS)
	@[ -z '$(UNIT_PYTHON)' ] || $(PYTHON) -m pytest -q -n $(JOBS) --maxprocesses 4 $(UNIT_PYTHON)

# In build/checked/ there is a copy of this tree, so that these tests find this recorder and no other.
checked: deps ## end-to-end tests with a recorder that checks itself, and verify=1 (CHECKED_TESTS= PYTEST_ARGS= JOBS=)
	@mkdir -p build/checked
	@find build/checked -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
	@tar -cf - --exclude=./build --exclude=./.git --exclude=__pycache__ . | tar -xf - --no-same-owner -C build/checked
	$(MAKE) --no-print-directory -C build/checked all CFLAGS='-O1 -g -DISAN_CHECKED'
	cd build/checked && $(call python,fast,3.13)
	cd build/checked && ISAN_TEST_OPTIONS=verify=1 $(PYTHON) -m pytest -q -n $(JOBS) --maxprocesses 4 --dist loadfile \
	    -k 'system or 3.13-fast' $(CHECKED_TESTS) $(PYTEST_ARGS)

# What the other variables of make test say is passed on.
fresh: ## make demo and make test on a new Debian, removed afterwards (RELEASE=bookworm|trixie CACHE=1 TARGETS="demo test" FRESH_ARGS=)
	@scripts/fresh.sh --release $(or $(RELEASE),bookworm) $(if $(CACHE),--cache) $(FRESH_ARGS) -- \
	    $(foreach target,$(or $(TARGETS),demo test),'make $(target)')

# The same results as without isan, and no finding but of the defects that are known.
cpython: deps ## CPython's own tests under fast and debug, compared with plain (CPYTHON_TESTS= CPYTHON_LOG=)
	$(MAKE) all
	$(call pythons,$(foreach v,3.13 3.14,$(v)-plain $(v)-fast $(v)-debug))
	logs='$(CPYTHON_LOG)'; logs=$${logs:-$$(mktemp -d)}; status=0; \
	for v in 3.13 3.14; do for f in plain fast debug; do echo "== CPython $$v, $$f"; \
	    $(isan) regrtest --flavor $$f --version $$v --log $$logs/$$v-$$f --suppressions tests/cpython/known-defects.txt \
	        $(CPYTHON_TESTS); [ $$? != 86 ] || status=1; \
	    [ $$f = plain ] || $(isan) regrtest --compare $$logs/$$v-plain $$logs/$$v-$$f || status=1; \
	done; done; [ -n '$(CPYTHON_LOG)' ] || rm -rf $$logs; exit $$status

races: deps ## CPython's own races, of interpreters that do the same at a time, under tsan (VERSION= RACES_ARGS=)
	$(MAKE) all
	set -e; for v in $(or $(VERSION),3.13 3.14); do $(call python,tsan,$$v); done
	status=0; for v in $(or $(VERSION),3.13 3.14); do \
	    $(PYTHON) tests/cpython/races.py --version $$v $(RACES_ARGS) || status=$$?; done; exit $$status

# What isan costs a stock Python (STOCK=, which is plain 3.13 by default, and
# then fast is compared with it, too), beside what other tools cost it, and what
# it adds to the end of an interpreter.  One that misses its bars does not keep
# the other from running.
bench: BASE = "$(or $(STOCK),$$($(isan) config --python --flavor plain --version 3.13))"
bench: FAST = $(if $(STOCK),,--test fast="$$($(isan) config --python --flavor fast --version 3.13)")
bench: deps ## time and memory of isan, tracemalloc, valgrind, and ends of interpreters (STOCK=python BENCH_ARGS= ENDING_ARGS=)
	$(MAKE) all
	$(if $(STOCK),,$(call python,fast,3.13))
	$(if $(STOCK),,$(call python,plain,3.13))
	status=0; \
	$(PYTHON) tests/bench/run.py --base $(BASE) $(FAST) \
	    $(if $(STOCK),,--max-time fast=1.5 --max-memory fast=1.4 --min-speedup fast=0.9) \
	    --test isan --test isan-none --test tracemalloc --test memcheck \
	    --max-time isan=1.25 --max-time isan-none=1.1 --max-memory isan=1.3 $(BENCH_ARGS) || status=$$?; \
	$(PYTHON) tests/bench/ending.py --base $(BASE) $(FAST) --test isan $(ENDING_ARGS) || status=$$?; \
	exit $$status

fuzz: deps ## feed isan's parsers with what they do not expect (FUZZ="log suppressions options" FUZZ_SECONDS=60)
	set -e; for t in $(or $(FUZZ),log suppressions options); do tests/fuzz/fuzz.sh $$t $(or $(FUZZ_SECONDS),60); done

soak: deps ## thousands of interpreters, isan's own memory flat (SOAK_ARGS=)
	$(MAKE) all
	$(call python,fast,3.13)
	$(PYTHON) tests/bench/soak.py $(SOAK_ARGS)

# Of the checks left out two take isan__die() for a function that returns and do
# not see that process_vm_readv() fills what it is given; gcc does the third better.
lint: $(RUNTIME_OBJ) ## warnings as errors in C, cppcheck, formatting, pyflakes, pycodestyle, shellcheck, layers, lengths
	set -e; for f in $(LINT_C); do echo "$(CC) -Werror $$f"; \
	    case $$f in */libc.c) more='$(LIBC_CFLAGS)';; *) more=;; esac; \
	    $(cc) $(filter-out -MMD -MP,$(ISAN_CFLAGS)) $$more -Werror -c -o /dev/null $$f; done
	cppcheck -j $$(nproc) --quiet --std=c11 --enable=warning,portability --inline-suppr \
	    --suppress=missingInclude --suppress=nullPointerArithmeticRedundantCheck \
	    --suppress=ctuuninitvar --suppress=pointerSize --error-exitcode=1 -I. -Iinclude $(LINT_C)
	$(CLANG_FORMAT) --dry-run --Werror $(FORMATTED_C)
	$(PYTHON) -m pyflakes $(SCRIPTS)
	$(MAKE) --no-print-directory pycodestyle
	set -e; for f in $(SHELL_FILES); do sh -n $$f; done
	shellcheck scripts/ci/*.sh
	$(PYTHON) scripts/layers.py --quiet
	$(PYTHON) scripts/sizes.py

layers: $(RUNTIME_OBJ) ## print the ladder of layers; fail on what goes up it, and on cycles of files
	@$(PYTHON) scripts/layers.py

pycodestyle:
	$(PYTHON) -m pycodestyle $(PYCODESTYLE) $(SCRIPTS)

format: ## format C with clang-format (FILES= others than those that are formatted)
	$(CLANG_FORMAT) -i $(or $(FILES),$(FORMATTED_C))

install: all ## install under PREFIX= (and DESTDIR=)
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/isan' '$(DESTDIR)$(PREFIX)/lib/pkgconfig'
	tar -cf - --exclude=__pycache__ build/lib build/libexec build/generated build/bin \
	    scripts/isan scripts/packages.txt reports include scripts/cpython \
	    | tar -xf - --no-same-owner -C '$(DESTDIR)$(PREFIX)/lib/isan'
	ln -sf ../lib/isan/build/bin/isan '$(DESTDIR)$(PREFIX)/bin/isan'
	install -D -m 644 docs/isan.1 '$(DESTDIR)$(PREFIX)/share/man/man1/isan.1'
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/lib/isan/include' '' 'Name: isan' \
	    'Description: The Interpreter Sanitizer for CPython: isan/isan.h' "Version: $$(build/bin/isan --version)" \
	    'Cflags: -I$${includedir}' > '$(DESTDIR)$(PREFIX)/lib/pkgconfig/isan.pc'

wheel: all ## build/dist/isan-*.whl, for pip install
	$(PYTHON) scripts/make_wheel.py build/dist

clean: ## remove build/ (built interpreters stay in the cache)
	rm -rf build

build/lib/libisan.so: build/lib/libisan.so.0
	ln -sf libisan.so.0 $@

# libunwind defines functions of libgcc_s's names (_Unwind_RaiseException, ...), which cannot carry a C++ exception through
# glibc's frames.  A preloaded libisan puts its libraries before the program's own in the order in which symbols are looked
# up, so libgcc_s has to come before libunwind.  Signal handlers must not need the dynamic linker (-z now), and handlers of
# exit() stay after dlclose() (-z nodelete).
build/lib/libisan.so.0: $(RUNTIME_OBJ)
	@mkdir -p $(@D)
	$(cc) -shared $(LDFLAGS) -Wl,-soname,libisan.so.0 -Wl,-z,now,-z,nodelete -o $@ $(RUNTIME_OBJ) \
	    -Wl,--push-state,--no-as-needed -lgcc_s -Wl,--pop-state -lunwind -ldl -lpthread

build/libexec/isan-symbolize: $(SYMBOLIZE_OBJ)
	@mkdir -p $(@D)
	$(cc) $(LDFLAGS) -o $@ $^ -ldw -lelf

build/libexec/isan-python: build/obj/scripts/cpython/launcher.o
	@mkdir -p $(@D)
	$(cc) $(LDFLAGS) -o $@ $^ -ldl

build/generated/_c_tables.py: scripts/generate_c_tables.py $(C_TABLES)
	$(PYTHON) $< $@ $(C_TABLES)

build/bin/isan: scripts/isan.sh Makefile
	@mkdir -p $(@D)
	sed 's|@PYTHON@|$(PYTHON)|' $< > $@.tmp && chmod +x $@.tmp && mv $@.tmp $@

build/obj/runtime/base/libc.o: ISAN_CFLAGS += $(LIBC_CFLAGS)

build/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(cc) $(ISAN_CFLAGS) -c -o $@ $<

# Unit tests in C: build/unit/NAME_test, of tests/unit/c/NAME_test.c and of the files that objects.mk names.
include tests/unit/c/objects.mk
UNIT_CFLAGS = -std=gnu11 -O1 -g -Wall -Wextra -Werror -fno-omit-frame-pointer -fsanitize=address,undefined \
              -fno-sanitize-recover=all -ftls-model=initial-exec -DISAN_CHECKED -I. -Iinclude -MMD -MP
unit_objects = $(patsubst %.c,build/unit/obj/%.o,tests/unit/c/$(1)_test.c $($(1)_FILES))
define unit_program
build/unit/$(1)_test: $(call unit_objects,$(1))
	$$(cc) -fsanitize=address,undefined -o $$@ $$^ $$($(1)_LIBS)
endef
$(foreach name,$(UNIT_NAMES),$(eval $(call unit_program,$(name))))

build/unit/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(cc) $(UNIT_CFLAGS) $(if $(filter runtime/base/libc.c,$<),$(LIBC_CFLAGS)) -c -o $@ $<

-include $(RUNTIME_OBJ:.o=.d) $(SYMBOLIZE_OBJ:.o=.d) build/obj/scripts/cpython/launcher.d \
         $(foreach name,$(UNIT_NAMES),$(patsubst %.o,%.d,$(call unit_objects,$(name))))
