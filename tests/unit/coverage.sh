#!/usr/bin/env bash
# Builds with gcov, runs the unit tests and prints which share of the lines they reach, per file
# and room. Fails below the floors of the style guide. Rooms without a floor are covered by the
# tests against a running service.
set -euo pipefail
build=coverage
out=${OUT:-build/$build}
floors="base=95 frames=95 core=95 keeper=85 policy=85 engine=85 http=85"

# shellcheck disable=SC2086  # MAKE may carry options
${MAKE:-make} --no-print-directory -s BUILD=$build OUT="$out" "$out/liboneshot.a"
find "$out" -name '*.gcda' -delete
# shellcheck disable=SC2086
${MAKE:-make} --no-print-directory -s BUILD=$build OUT="$out" unit

find "$out/obj/orchestrator" -name '*.gcda' -exec gcov -n -r {} + 2>/dev/null |
    awk -v floors="$floors" '
    /^File / { split($0, q, "\047"); file = q[2]; next }
    /^Lines executed:/ && file ~ /^orchestrator\/[a-z]+\/[a-z0-9_]+\.c$/ {
        split($0, f, /[:% ]+/)
        lines = f[5]; hit = f[3] * lines / 100
        split(file, p, "/"); room = p[2]
        all[room] += lines; got[room] += hit
        printf "%6.1f%% %6d  %s\n", f[3], lines, file
        file = ""
    }
    END {
        n = split(floors, pair, " ")
        for (i = 1; i <= n; i++) { split(pair[i], kv, "="); floor[kv[1]] = kv[2] }
        for (room in all) {
            share = 100 * got[room] / all[room]
            said = ""
            if (room in floor && share < floor[room]) { said = "  below " floor[room] "%"; bad = 1 }
            printf "%6.1f%% %6d  %s/%s\n", share, all[room], room, said
            total += all[room]; reached += got[room]
        }
        if (total) printf "%6.1f%% %6d  in all\n", 100 * reached / total, total
        exit bad || !total
    }' | sort -k3
