#!/bin/sh
# run.sh fuzz SECONDS [NAME…]: each fuzz target for so long with libFuzzer, ASan and UBSan (clang).
#                              What it finds is left in build/fuzz/found/NAME.
# run.sh replay [NAME…]:       feeds the kept corpora, finds of the past among them, to every target
#                              in an ordinary ASan build; no clang needed.
set -eu
mode=${1:-replay}
[ $# -eq 0 ] || shift
here=tests/fuzz

build() {
    # shellcheck disable=SC2086  # MAKE may carry options
    ${MAKE:-make} --no-print-directory -s "$@"
}

# The names that were asked for, or all.
targets() {
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@"
    else
        find "$here" -name 'fuzz_*.c' | sed 's|.*/fuzz_||; s|\.c$||' | sort
    fi
}

fuzz() {
    seconds=$1
    shift
    clang=${FUZZ_CC:-$(command -v clang-14 || command -v clang)}
    out=build/fuzz
    failed=""
    for name in $(targets "$@"); do
        build BUILD=fuzz OUT=$out CC="$clang" "$out/fuzz/fuzz_$name"
        mkdir -p "$out/corpus/$name" "$out/found/$name" "$here/corpus/$name"
        echo "fuzz: $name for $seconds s"
        "$out/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
            -print_final_stats=1 -verbosity=0 -close_fd_mask=1 \
            -artifact_prefix="$out/found/$name/" "$out/corpus/$name" "$here/corpus/$name" \
            2>"$out/$name.log" || failed="$failed $name"
        grep -E 'stat::number_of_executed|ERROR|SUMMARY|Assertion' "$out/$name.log" || true
    done
    [ -z "$failed" ] || { echo "fuzz: failed:$failed (see build/fuzz/NAME.log)"; exit 1; }
}

replay() {
    out=${OUT:-build/asan}
    count=0
    for name in $(targets "$@"); do
        build BUILD=asan OUT="$out" "$out/fuzz/fuzz_$name"
        files=$(find "$here/corpus/$name" -type f | wc -l)
        [ "$files" -gt 0 ] || { echo "fuzz: $name has no corpus"; exit 1; }
        find "$here/corpus/$name" -type f -exec "$out/fuzz/fuzz_$name" {} +
        count=$((count + files))
    done
    echo "fuzz: $count files replayed"
}

case $mode in
fuzz) fuzz "${@:-60}" ;;
replay) replay "$@" ;;
*) echo "usage: run.sh fuzz SECONDS [NAME...] | replay [NAME...]" >&2; exit 2 ;;
esac
