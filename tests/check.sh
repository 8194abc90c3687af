#!/usr/bin/env bash
# Runs every test; what `make check` and CI do. Ends with the runners' own summaries.
#
# usage: check.sh [STEP...]     all steps without names; `check.sh --list` names them
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=$(nproc)
make="${MAKE:-make} --no-print-directory -s -j$jobs"
venv=build/venv-tests
images_pid=

steps=(setup build lint unit asan tsan valgrind fuzz images worker e2e cli docs compose)

step_setup() { ./setup.sh check; }
# The images are downloaded more than computed: they are made while the units are tested.
step_build() {
    $make all || return
    images/build.sh >build/check-images.log 2>&1 &
    images_pid=$!
}
step_lint() { $make lint; }
step_unit() { $make unit; }
step_asan() { $make BUILD=asan unit; }
step_tsan() { $make BUILD=tsan unit; }
step_valgrind() { $make BUILD=debug valgrind; }
step_fuzz() { $make fuzz-replay; }
step_images() {
    if [ -n "$images_pid" ]; then
        wait "$images_pid" || {
            cat build/check-images.log
            return 1
        }
        cat build/check-images.log
    else
        images/build.sh || return
    fi
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

case ${1:-} in
--list)
    printf '%s\n' "${steps[@]}"
    exit
    ;;
-*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

failed=()
for step in "${@:-${steps[@]}}"; do
    echo "== $step"
    began=$SECONDS
    "step_$step" || failed+=("$step")
    echo "== $step: $((SECONDS - began)) s"
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "check: failed: ${failed[*]}"
    exit 1
fi
echo 'check: all steps passed'
