#!/bin/sh
# The style of everything that git knows or could know: run.sh TOOLS_DIRECTORY. Goes on after a
# failing step, so that one run names everything, and fails at the end. clang-tidy is the
# Makefile's, which keeps what it has found clean.
set -u
tools=$1
failed=""

# Files that git lists but that are deleted in the work tree do not count.
files() {
    git ls-files -co --exclude-standard -- "$@" | while IFS= read -r name; do
        [ -f "$name" ] && printf '%s\n' "$name"
    done
}

step() {
    name=$1
    shift
    if ! "$@"; then
        failed="$failed $name"
    fi
}

each() {
    list=$1
    shift
    [ -z "$list" ] || printf '%s\n' "$list" | xargs -d '\n' "$@"
}

c_files=$(files '*.c' '*.h')
step format each "$c_files" "$tools/clang-format" --dry-run -Werror
step layers "$tools/python" tests/lint/layers.py
step ceilings each "$c_files" "$tools/python" tests/lint/ceilings.py
step selftest "$tools/python" tests/lint/selftest.py
step shellcheck each "$(files '*.sh')" "$tools/shellcheck"
step ruff each "$(files '*.py')" "$tools/ruff" check --quiet
step tidy "${MAKE:-make}" -s -k -j"$(nproc)" tidy

if [ -n "$failed" ]; then
    echo "lint: failed:$failed"
    exit 1
fi
echo "lint: ok"
