#!/usr/bin/env bash
# Starts the sandbox of port 6000 in a container, building what is missing.
#
# usage: start_local_sandbox.sh [NAME] [OUTPUT_DIR]
#   NAME         name of the service's container: docker logs NAME      (local-sandbox)
#   OUTPUT_DIR   directory that programs see as /workspace              ($OUTPUT_DATA_PATH, else $PWD)
#   DEBUG=1      more in the log, and the log stays on the terminal
set -euo pipefail

case ${1:-} in
-h | --help)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit
    ;;
esac

name=${1:-local-sandbox}
output=${2:-${OUTPUT_DATA_PATH:-$PWD}}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

[ -d "$output" ] || mkdir -p "$output"
output=$(cd "$output" && pwd)

echo "Sandbox '$name', work directory $output"
export SANDBOX_CONTAINER=$name OUTPUT_DATA_PATH=$output DEBUG=${DEBUG:-}
make -C "$root" --no-print-directory up
[ -z "$DEBUG" ] || exec docker logs -f "$name"
