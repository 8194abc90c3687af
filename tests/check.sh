#!/usr/bin/env bash
# Runs every test; what `make check` and CI do. Ends with the runners' own summaries.
#
# usage: check.sh            everything, each step's log in build/check/
#        check.sh STEP...    these steps, one after the other, on the terminal
#        check.sh --list     names the steps
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=$(nproc)
make="${MAKE:-make} --no-print-directory -s -j$jobs"
venv=build/venv-tests
logs=build/check

# The images are downloaded more than computed: they are made while the code is tested.
first=(setup build)
beside=images
code=(lint unit asan tsan valgrind fuzz)
containers=(worker e2e cli docs compose)

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
step_images() {
    images/build.sh
    images/selftest.sh
}
step_worker() { python_tests tests/worker; }
step_e2e() { python_tests tests/e2e; }
step_cli() { python_tests tests/cli; }
step_docs() { python_tests tests/docs; }
step_compose() { python_tests tests/compose; }

python_tests() {
    $make "$venv/ready"
    "$venv/bin/python" -m pytest -q --durations=5 "$@"
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

everything() {
    local rc=0 images
    rm -rf "$logs"
    mkdir -p "$logs"
    for step in "${first[@]}"; do
        run_step "$step" || exit 1
    done
    run_step $beside &
    images=$!
    run_steps "${code[@]}" || rc=1
    wait "$images" || rc=1
    run_steps "${containers[@]}" || rc=1
    echo
    cat "$logs/summary"
    echo "steps: $(grep -c ' ok: ' "$logs/summary") passed, $(grep -c ' FAILED: ' "$logs/summary") failed"
    return $rc
}

case ${1:-} in
--list) printf '%s\n' "${first[@]}" $beside "${code[@]}" "${containers[@]}" ;;
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
