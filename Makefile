# Oneshot. `make help` lists what there is to do; `make run` and `make check` do all the set-up.

BUILD   ?= release
OUT     := build/$(BUILD)
CC      ?= gcc
VERSION := 0.1.0

PKGS := libmicrohttpd libcurl libcjson yaml-0.1 sqlite3 libcrypto libseccomp

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wformat=2 \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wwrite-strings \
	-Wcast-align -Wcast-qual -Wpointer-arith -Wundef -Wvla -Walloca -Wswitch-enum \
	-Wimplicit-fallthrough -Wnull-dereference -Werror
ifeq ($(findstring clang,$(CC)),)
WARN += -Wjump-misses-init
endif
HARDEN := -O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection \
	-fcf-protection -fPIE

CPPFLAGS = -D_GNU_SOURCE -DONESHOT_VERSION='"$(VERSION)"' -Iorchestrator -I$(OUT)/gen \
	-include base/banned.h $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS_release := $(HARDEN)
CFLAGS_debug   := -O1
CFLAGS_asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan    := -O1 -fsanitize=thread -fno-omit-frame-pointer
CFLAGS_coverage := -O0 --coverage -fprofile-update=atomic
CFLAGS_fuzz    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
CFLAGS   = -std=c11 -g -pthread $(WARN) $(CFLAGS_$(BUILD))
LDFLAGS_release := -pie -Wl,-z,relro,-z,now
LDFLAGS_asan    := -fsanitize=address,undefined
LDFLAGS_tsan    := -fsanitize=thread
LDFLAGS_coverage := --coverage
LDFLAGS_fuzz    := -fsanitize=address,undefined
LDFLAGS  = -pthread $(LDFLAGS_$(BUILD))
LDLIBS   = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

MAIN_SRC := orchestrator/main.c
LIB_SRC  := $(filter-out $(MAIN_SRC),$(wildcard orchestrator/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(OUT)/obj/%.o)
MAIN_OBJ := $(MAIN_SRC:%.c=$(OUT)/obj/%.o)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(OUT)/unit/%)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(OUT)/fuzz/%)

WARDEN_SRC := $(wildcard images/warden/*.c) orchestrator/frames/frame.c orchestrator/frames/stream.c
WARDEN_OBJ := $(WARDEN_SRC:%.c=$(OUT)/warden-obj/%.o)

.PHONY: all help run stop up down demo check images warden unit coverage fuzz fuzz-replay fuzz-bin valgrind e2e bench lint \
	lint-pin tidy fmt clean
all: $(OUT)/oneshot warden

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

# ---- using it ----
run: ## install what is missing, build, start the service, prove it with one run
	@./setup.sh run
	@$(MAKE) --no-print-directory -j$(shell nproc) all
	@images/build.sh
	@compose/service.sh start

stop: ## stop what `make run` started
	@compose/service.sh stop

up: ## the same as `run`, in a container, through compose
	@$(MAKE) --no-print-directory images
	@compose/up.sh up

down: ## stop what `make up` started
	@compose/up.sh down

demo: ## the whole loop without any account: a sentence in, a plot out; ARGS="--slack" asks in Slack, too
	@./setup.sh demo
	@$(MAKE) --no-print-directory -j$(shell nproc) all $(STANDINS_VENV)/ready
	@images/build.sh
	@$(STANDINS_VENV)/bin/python tests/demo.py $(ARGS)

images: ## build the images that programs run in
	@./setup.sh run
	@$(MAKE) --no-print-directory warden
	@images/build.sh

check: ## install what is missing, run every test
	@tests/check.sh

$(OUT)/oneshot: $(MAIN_OBJ) $(OUT)/liboneshot.a
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS) -o $@ $(MAIN_OBJ) $(OUT)/liboneshot.a $(LDLIBS)

$(OUT)/liboneshot.a: $(LIB_OBJ)
	@rm -f $@
	@ar rcs $@ $(LIB_OBJ)

$(OUT)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# ---- the warden: static, so that it runs in any image ----
warden: $(OUT)/warden ## build PID 1 of the containers

$(OUT)/warden: $(WARDEN_OBJ)
	@echo "  LD    $@"
	@$(CC) -static-pie $(if $(filter release,$(BUILD)),-Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now) -o $@ $(WARDEN_OBJ)
comma := ,

$(OUT)/warden-obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) -D_GNU_SOURCE -Iorchestrator -Iimages/warden -include base/banned.h -std=c11 -g \
		$(WARN) $(HARDEN) -MMD -MP -c -o $@ $<

# ---- unit tests ----
unit: $(UNIT_BIN) ## run the C unit tests of BUILD=release|debug|asan|tsan
	@tests/unit/run.sh $(UNIT_BIN)

$(OUT)/unit/%: tests/unit/%.c $(OUT)/liboneshot.a
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(shell pkg-config --cflags check) $(CFLAGS) -Wno-pedantic -MMD -MP -MF $@.d -o $@ $< \
		$(LDFLAGS) $(OUT)/liboneshot.a $(LDLIBS) $(shell pkg-config --libs check)

valgrind: $(UNIT_BIN) ## the same under valgrind (BUILD=debug)
	@tests/unit/run.sh --valgrind $(UNIT_BIN)

coverage: ## line coverage of the unit tests, per room
	@MAKE="$(MAKE)" tests/unit/coverage.sh

# ---- fuzzing ----
SECONDS ?= 60
fuzz: ## fuzz every target for SECONDS=60 each (needs clang)
	@MAKE="$(MAKE)" tests/fuzz/run.sh fuzz $(SECONDS)

fuzz-replay: ## feed the kept corpora to every fuzz target
	@MAKE="$(MAKE)" tests/fuzz/run.sh replay

fuzz-bin: $(FUZZ_BIN)

# BUILD=fuzz gets libFuzzer's main(), every other build a loop over the files that are named.
FUZZ_MAIN := $(if $(filter fuzz,$(BUILD)),-fsanitize=fuzzer,$(OUT)/obj/tests/fuzz/replay.o)
.SECONDARY: $(OUT)/obj/tests/fuzz/replay.o
$(OUT)/fuzz/%: tests/fuzz/%.c $(filter %.o,$(FUZZ_MAIN)) $(OUT)/liboneshot.a
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -MF $@.d -o $@ $< $(FUZZ_MAIN) \
		$(LDFLAGS) $(OUT)/liboneshot.a $(LDLIBS)

# ---- tests against a running service (pytest) ----
TEST_VENV := build/venv-tests
$(TEST_VENV)/ready: tests/requirements.txt
	@python3 -m venv $(TEST_VENV)
	@$(TEST_VENV)/bin/pip -q --disable-pip-version-check install --require-hashes -r $<
	@touch $@

e2e: $(TEST_VENV)/ready $(OUT)/oneshot ## the tests against running services (needs the images)
	@$(TEST_VENV)/bin/python -m pytest -q tests/e2e

BENCH_VENV := build/venv-bench
$(BENCH_VENV)/ready: tests/bench/requirements.txt
	@python3 -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/pip -q --disable-pip-version-check install --require-hashes -r $<
	@touch $@

bench: all $(TEST_VENV)/ready $(BENCH_VENV)/ready ## measure this machine; ARGS="--quick warm" for less
	@$(TEST_VENV)/bin/python tests/bench/bench.py --rival $(BENCH_VENV)/bin/python $(ARGS)

# The official clients that the stand-ins of tests/standins are proven by, and a query engine.
STANDINS_VENV := build/venv-standins
$(STANDINS_VENV)/ready: tests/standins/requirements.txt
	@python3 -m venv $(STANDINS_VENV)
	@$(STANDINS_VENV)/bin/pip -q --disable-pip-version-check install --require-hashes -r $<
	@touch $@

# ---- style ----
VENV := build/venv
$(VENV)/ready: tests/lint/requirements.txt
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip -q install --require-hashes -r $<
	@touch $@

lint: $(VENV)/ready ## format, layers, ceilings, clang-tidy, shellcheck, ruff
	@MAKE="$(MAKE)" tests/lint/run.sh $(VENV)/bin

lint-pin: ## write the hashes of the lint and test tools anew (needs pip-compile)
	@pip-compile -q --generate-hashes --strip-extras --no-header --no-emit-find-links \
		--no-emit-index-url -o tests/requirements.txt tests/requirements.in
	@pip-compile -q --generate-hashes --strip-extras --no-header --no-emit-find-links \
		-o tests/lint/requirements.txt tests/lint/requirements.in
	@pip-compile -q --generate-hashes --strip-extras --no-header --no-emit-find-links \
		--no-emit-index-url -o tests/standins/requirements.txt tests/standins/requirements.in

fmt: $(VENV)/ready ## format every C file
	@git ls-files -co --exclude-standard '*.c' '*.h' | while read -r f; do \
		[ ! -f "$$f" ] || echo "$$f"; done | xargs $(VENV)/bin/clang-format -i

# One stamp per file that clang-tidy finds clean; `make lint` runs them side by side.
TIDY_SRC := $(MAIN_SRC) $(wildcard orchestrator/*/*.c) $(wildcard images/warden/*.c)
TIDY_OUT := $(TIDY_SRC:%.c=build/lint/%.tidy)
tidy: $(TIDY_OUT)

build/lint/%.tidy: %.c .clang-tidy $(VENV)/ready
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) -Iimages/warden -MM -MP -MT $@ -MF $@.d $<
	@if ! $(VENV)/bin/clang-tidy --quiet $< -- $(CPPFLAGS) -Iimages/warden -std=c11 \
		2>$@.err >$@.out; then cat $@.out; exit 1; fi
	@touch $@

clean: ## remove what was built
	rm -rf build

-include $(LIB_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(WARDEN_OBJ:.o=.d) $(UNIT_BIN:=.d) $(FUZZ_BIN:=.d)
-include $(TIDY_OUT:=.d)
