#!/usr/bin/env bash
# Tries the sandbox of port 6000 with 17 programs and 5 malformed requests.
#
# usage: test_code_execution_sandbox.sh [-u URL] [-t SECONDS] [-m] [-h]
#   -u URL       where it listens                (http://127.0.0.1:6000/execute)
#   -t SECONDS   time limit of each program      (30)
#   -m           malformed requests only
#   -h           this
set -uo pipefail

url=http://127.0.0.1:6000/execute
timeout=30
malformed_only=false
passed=0
failed=0

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

while getopts 'u:t:mh' option; do
    case $option in
    u) url=$OPTARG ;;
    t) timeout=$OPTARG ;;
    m) malformed_only=true ;;
    h)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done

command -v jq >/dev/null || {
    echo 'jq is needed: apt-get install jq' >&2
    exit 2
}

report() { # NAME OK DETAIL
    if [ "$2" = true ]; then
        passed=$((passed + 1))
        echo "ok    $1"
    else
        failed=$((failed + 1))
        echo "FAIL  $1: $3"
    fi
}

# execute NAME CODE STATUS [STDOUT_PART [STDERR_PART]]
execute() {
    local name=$1 code=$2 status=$3 out_part=${4:-} err_part=${5:-} reply ok=true got
    reply=$(printf '%s\n' "$code" | jq -R -s --argjson t "$timeout" \
        '{generated_code: ., timeout: $t, language: "python"}' |
        curl --silent --show-error --max-time $((timeout + 30)) \
            -H 'Content-Type: application/json' -d @- "$url" 2>&1)
    got=$(jq -r .process_status <<<"$reply" 2>/dev/null)
    [ "$got" = "$status" ] || ok=false
    if [ -n "$out_part" ] && ! jq -r .stdout <<<"$reply" | grep -qF -- "$out_part"; then ok=false; fi
    if [ -n "$err_part" ] && ! jq -r .stderr <<<"$reply" | grep -qF -- "$err_part"; then ok=false; fi
    if [ "$status" = completed ] && [ -z "$err_part" ] &&
        [ "$(jq -r .stderr <<<"$reply")" != "" ]; then ok=false; fi
    report "$name" "$ok" "$reply"
}

# malformed NAME STATUS PART CURL_ARGUMENTS...
malformed() {
    local name=$1 status=$2 part=$3 reply code
    shift 3
    reply=$(curl --silent --show-error --max-time 30 -w '\n%{http_code}' "$@" "$url" 2>&1)
    code=${reply##*$'\n'}
    if [ "$code" = "$status" ] && grep -qF -- "$part" <<<"${reply%$'\n'*}"; then
        report "$name" true ''
    else
        report "$name" false "$reply"
    fi
}

curl --silent --output /dev/null --max-time 10 "$url" || {
    echo "no answer from $url: is the sandbox running?" >&2
    exit 1
}

if ! $malformed_only; then
    execute 'simple print' "print('Hello, World!')" completed 'Hello, World!'
    execute 'arithmetic' 'x = 2 + 3 * 4
print(f"result {x}")' completed 'result 14'
    execute 'strings' "print('oneshot'.upper()[::-1])" completed 'TOHSENO'
    execute 'numpy' 'import numpy as np
print("mean", np.mean(np.array([1, 2, 3, 4, 5])))' completed 'mean 3.0'
    execute 'pandas' 'import pandas as pd
d = pd.DataFrame({"A": [1, 2, 3]})
print("sum", d["A"].sum())' completed 'sum 6'
    execute 'plotly' 'import plotly.graph_objects as go
f = go.Figure()
f.add_trace(go.Scatter(x=[1, 2], y=[3, 4]))
print("made", len(f.data))' completed 'made 1'
    execute 'syntax error' 'print("no end"' error '' 'SyntaxError'
    execute 'runtime error' 'print("before")
1 / 0' error 'before' 'ZeroDivisionError'
    execute 'import error' 'import no_such_module' error '' 'ModuleNotFoundError'
    execute 'mixed output' 'import sys
print("o1")
print("e1", file=sys.stderr)
print("o2")' completed 'o2' 'e1'
    execute 'long running' 'import time
for i in range(3):
    time.sleep(0.2)
    print("step", i)' completed 'step 2'
    execute 'files' 'open("sandbox_test.txt", "w").write("kept")
print(open("sandbox_test.txt").read())
import os; os.remove("sandbox_test.txt")' completed 'kept'
    execute 'dictionary format' "{'generated_code': 'print(\"from a dictionary\")'}" completed \
        'from a dictionary'
    # shellcheck disable=SC2016  # the backticks are markdown
    execute 'markdown format' '```python
print("from markdown")
```' completed 'from markdown'
    execute 'persistence: write' 'import numpy as np
np.save("persistence_test.npy", np.arange(5))
open("persistence_test.txt", "w").write("still here")
print("written")' completed 'written'
    execute 'persistence: read' 'import numpy as np, os
print(open("persistence_test.txt").read(), np.load("persistence_test.npy").sum())
os.remove("persistence_test.txt"); os.remove("persistence_test.npy")' completed 'still here 10'
    timeout=5 execute 'time-out' 'print("so far", flush=True)
import time; time.sleep(60)' timeout 'so far' 'Timed out'
fi

json='Content-Type: application/json'
malformed 'missing code' 400 'Missing required field: generated_code' -H "$json" -d '{"timeout":10}'
malformed 'missing timeout' 400 'Missing required field: timeout' -H "$json" \
    -d '{"generated_code":"print(1)"}'
malformed 'invalid JSON' 400 'Invalid JSON data' -H "$json" -d '{"generated_code": '
malformed 'not JSON' 400 'Request must be JSON' -H 'Content-Type: text/plain' -d 'print(1)'
malformed 'other language' 400 'Only python execution is supported' -H "$json" \
    -d '{"generated_code":"1","timeout":10,"language":"ruby"}'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
