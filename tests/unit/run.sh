#!/usr/bin/env bash
# Runs Check programs side by side, one per processor, prints the summary of each and a total;
# fails when any failed.
#
# usage: run.sh [--valgrind] PROGRAM...
#
# With --valgrind an invalid access, a use of what was never written and a block that nothing points
# to any more fail the test in which they happen, or the program if its tests share one process
# (unit.h). Forked processes are looked at too; programs that a test starts by exec are not: they
# are shells and interpreters.
# Check multiplies its time-outs by CK_TIMEOUT_MULTIPLIER: what hangs is found all the same, what
# is only slow (valgrind, a machine under load) passes. HANG_S is for tests that share a process.
set -u
HANG_S=600

tool=""
if [ "${1:-}" = --valgrind ]; then
    tool=valgrind
    shift
fi

if [ "${1:-}" = --one ]; then
    tool=$2
    program=$3
    set --
    if [ "$tool" = valgrind ]; then
        # One test has 500 connections, two descriptors and a thread for each.
        [ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -ge 2048 ] || ulimit -S -n 2048
        set -- timeout "$HANG_S" valgrind --quiet --error-exitcode=99 --leak-check=full \
            --show-leak-kinds=definite --errors-for-leak-kinds=definite --num-callers=20 \
            --fair-sched=try --vgdb=no --max-threads=1100 --suppressions=tests/unit/valgrind.supp
    fi
    if out=$("$@" "$program" 2>&1); then
        said=$(printf '%s\n' "$out" | grep '^skipped: ' || printf '%s\n' "$out" | grep -E '^[0-9]+%')
        printf '%-24s %s\n' "$(basename "$program")" "${said##*$'\n'}"
        exit 0
    fi
    printf '%s FAILED\n' "$program"
    # valgrind 3.19 does not know openat2 and seccomp, which we and libseccomp can do without, and
    # says so in five lines each time.
    printf '%s\n' "$out" | grep -vE -e '^--[0-9]+-- (WARNING: unhandled .* syscall: (317|437)|You may)' \
        -e '^--[0-9]+-- (Read the file README_MISSING|Nevertheless we consider|it at http)'
    exit 1
fi

jobs=$(nproc)
# What tests wait for takes longer under valgrind, and leaves a processor free.
[ -z "$tool" ] || jobs=$((jobs + 1))
CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-$([ "$tool" ] && echo 30 || echo 6)}
export CK_TIMEOUT_MULTIPLIER
# xargs tells with 123 that some of them failed.
printf '%s\n' "$@" | xargs -d '\n' -n 1 -P "$jobs" "$0" --one "$tool"
rc=$?
[ $rc -eq 0 ] || { echo "unit: of $# programs some failed"; exit 1; }
echo "unit: all of $# programs passed"
