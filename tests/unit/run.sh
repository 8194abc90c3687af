#!/bin/sh
# Runs Check programs side by side, one per processor, prints the summary of each and a total;
# fails when any failed.
#
# usage: run.sh [--valgrind] PROGRAM...
#
# With --valgrind an invalid access, a use of what was never written and a block that nothing points
# to any more fail the test in which they happen. Forked processes are looked at too; programs
# that a test starts by exec are not: they are shells and interpreters, or built with sanitizers.
# Check multiplies its time-outs by CK_TIMEOUT_MULTIPLIER: what hangs is found all the same, what
# is only slow (valgrind, a machine under load) passes.
set -u

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
        set -- valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
            --errors-for-leak-kinds=definite --num-callers=20 --fair-sched=try \
            --suppressions=tests/unit/valgrind.supp
    fi
    if out=$("$@" "$program" 2>&1); then
        printf '%-24s %s\n' "$(basename "$program")" \
            "$(printf '%s\n' "$out" | grep -E '^[0-9]+%' | tail -n 1)"
        exit 0
    fi
    printf '%s FAILED\n%s\n' "$program" "$out"
    exit 1
fi

jobs=$(nproc)
CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-$([ "$tool" ] && echo 30 || echo 6)}
export CK_TIMEOUT_MULTIPLIER
# xargs tells with 123 that some of them failed.
printf '%s\n' "$@" | xargs -d '\n' -n 1 -P "$jobs" "$0" --one "$tool"
rc=$?
[ $rc -eq 0 ] || { echo "unit: of $# programs some failed"; exit 1; }
echo "unit: all of $# programs passed"
