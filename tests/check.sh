#!/usr/bin/env bash
# Runs every test; what `make check` and CI do. Ends with the runners' own summaries.
#
# usage: check.sh            everything, each step's log in build/check/
#        check.sh STEP...    these steps, one after the other, on the terminal
#        check.sh --list     names the steps
#
# Much runs at the same time, and some tests wait for what a busy machine is late with. Those of
# `everything` that fail are run once more when nothing else runs, and count if they fail there, too;
# the summary names each. Of a step with more than AGAIN_MAX of them none is.
set -euo pipefail
AGAIN_MAX=5

cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=$(nproc)
make="${MAKE:-make} --no-print-directory -s -j$jobs"
venv=build/venv-tests
standins=build/venv-standins
logs=build/check

# What needs only a processor is done all the time, and yields to what waits for the engine or the
# network: the images and the official clients are downloaded more than computed, so at the same time,
# and tests with containers wait most of the time: two lanes of those keep the engine and both
# processors busy. Beside them it has half of the processors: a busier machine would be late with more
# than tests allow for.
first=(setup build)
made=(images standins)
lane_one=(e2e)
lane_two=(engine worker long slack cli docs compose)
meanwhile=(unit asan)
yielding=(tsan lint valgrind fuzz)
YIELD=10 # at 19 a busy engine would leave too little for the deadlines of tests

step_setup() { ./setup.sh check; }
step_build() {
    $make all
    $make "$venv/ready"
}
step_lint() { $make lint; }
step_unit() { $make unit; }
step_asan() { $make BUILD=asan unit; }
step_tsan() { $make BUILD=tsan unit; }
step_valgrind() { $make BUILD=debug valgrind; }
step_fuzz() { $make fuzz-replay; }
step_standins() {
    $make "$standins/ready"
    pytest_of "$standins" --timeout=300 tests/standins_proof
}
step_slack() { python_tests --timeout=300 tests/slack; }
step_images() {
    images/build.sh
    images/selftest.sh
}
# The step `unit` skips it where it comes before the images.
step_engine() {
    $make build/release/unit/test_engine_real
    ONESHOT_TEST_IMAGE=oneshot/python-slim tests/unit/run.sh build/release/unit/test_engine_real
}
step_worker() { python_tests tests/worker; }
step_e2e() { python_tests -m "not long" tests/e2e; }
step_long() { python_tests -m long tests/e2e; }
step_cli() { python_tests tests/cli; }
step_docs() { python_tests tests/docs; }
step_compose() { python_tests tests/compose; }

python_tests() {
    $make "$venv/ready"
    pytest_of "$venv" "$@"
}

# Each step remembers by itself what failed: several run at the same time.
pytest_of() {
    local of=$1
    shift
    "$of/bin/python" -m pytest -q --durations=5 -o cache_dir="$PWD/$logs/cache/$step" \
        ${AGAIN:+--last-failed --last-failed-no-failures none} "$@"
}

# What failed in a step: ids of tests, or programs; nothing if the step cannot be run in part.
failed_of() {
    local cache=$logs/cache/$1/v/cache/lastfailed

    case $1 in
    unit | asan | tsan | valgrind | engine) sed -n 's/^\(build\/[^ ]*\) FAILED$/\1/p' "$logs/$1.log" ;;
    *)
        [ ! -f "$cache" ] ||
            python3 -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' "$cache"
        ;;
    esac
}

# What failed in a step, once more.
again() {
    local step=$1 programs

    mapfile -t programs < <(failed_of "$step")
    case $step in
    unit | asan | tsan) tests/unit/run.sh "${programs[@]}" ;;
    valgrind) tests/unit/run.sh --valgrind "${programs[@]}" ;;
    *) AGAIN=yes "step_$step" ;;
    esac
}

# A step in a process of its own; what it said is shown when it is over, whole if it failed.
run_step() {
    local step=$1 began=$SECONDS said=ok
    # MAKEFLAGS of the make that started this would make jobs of ours wait for its own.
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL "$0" "$step" >"$logs/$step.log" 2>&1 </dev/null ||
        said=FAILED
    (
        flock 9
        [ "$said" = ok ] || cat "$logs/$step.log"
        echo "== $step: $said, $((SECONDS - began)) s"
        echo "$step $said: $(tail -n 1 "$logs/$step.log")" >>"$logs/summary"
    ) 9>"$logs/lock"
    [ "$said" = ok ]
}

run_steps() {
    local step rc=0
    for step; do
        run_step "$step" || rc=1
    done
    return $rc
}

# The steps that failed, once more: only what failed in them, and alone.
run_again() {
    local step names name n
    while read -r step; do
        names=$(failed_of "$step")
        n=$(grep -c . <<<"$names") || true
        if [ "$n" -eq 0 ] || [ "$n" -gt "$AGAIN_MAX" ]; then
            continue
        fi
        echo "== $step: once more, alone"
        if env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL "$0" --again "$step" </dev/null 2>&1 |
            tee "$logs/$step.again.log"; then
            sed -i "s/^$step FAILED: /$step ok: alone, what failed before: /" "$logs/summary"
            while read -r name; do
                echo "  $step: $name" >>"$logs/summary"
            done <<<"$names"
        fi
    done < <(sed -n 's/^\([a-z0-9]*\) FAILED: .*/\1/p' "$logs/summary")
}

everything() {
    local made_pids=() pid two_pid yielding_pid
    rm -rf "$logs"
    mkdir -p "$logs"
    for step in "${first[@]}"; do
        run_step "$step" || exit 1
    done
    (
        renice -n "$YIELD" -p "$BASHPID" >/dev/null
        run_steps "${meanwhile[@]}" || true
        # nproc, which all of them ask, minds it.
        export OMP_NUM_THREADS=$(((jobs + 1) / 2))
        run_steps "${yielding[@]}"
    ) &
    yielding_pid=$!
    for step in "${made[@]}"; do
        run_step "$step" &
        made_pids+=($!)
    done
    for pid in "${made_pids[@]}"; do
        wait "$pid" || true
    done
    run_steps "${lane_two[@]}" &
    two_pid=$!
    run_steps "${lane_one[@]}" || true
    wait "$two_pid" || true
    wait "$yielding_pid" || true
    run_again
    echo
    cat "$logs/summary"
    echo "steps: $(grep -c ' ok: ' "$logs/summary") passed, $(grep -c ' FAILED: ' "$logs/summary") failed"
    ! grep -q '^[a-z0-9]* FAILED: ' "$logs/summary"
}

case ${1:-} in
--list) printf '%s\n' "${first[@]}" "${made[@]}" "${lane_one[@]}" "${lane_two[@]}" \
    "${meanwhile[@]}" "${yielding[@]}" ;;
--again) again "$2" ;;
-*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
'') everything ;;
*)
    for step; do
        "step_$step"
    done
    ;;
esac
