#!/bin/sh
# Runs each Check program given, prints its summary, ends with a total; fails when any failed.
set -u
failed=0
for program in "$@"; do
    if out=$("$program" 2>&1); then
        printf '%-24s %s\n' "$(basename "$program")" "$(printf '%s\n' "$out" | grep -E '^[0-9]+%' | tail -n 1)"
    else
        failed=$((failed + 1))
        printf '%s FAILED\n%s\n' "$program" "$out"
    fi
done
echo "unit: $(($# - failed)) of $# programs passed"
[ "$failed" -eq 0 ]
