#!/usr/bin/env bash
# Proves what the images promise (python/selftest.py) in containers as bare as those of runs.
#
# usage: selftest.sh [--slim-only]        TAG: tag of the images (latest)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The script comes on stdin: nothing of the host is mounted.
run() {
    docker run --rm --interactive --network none --read-only --cap-drop ALL \
        --security-opt no-new-privileges --user 65534:65534 --pids-limit 64 --memory 1g \
        --tmpfs /work:rw,noexec,nosuid,nodev,size=64m,uid=65534,gid=65534 \
        --tmpfs /workspace:rw,noexec,nosuid,nodev,size=64m,uid=65534,gid=65534 \
        --tmpfs /tmp:rw,noexec,nosuid,nodev,size=64m \
        --env MPLCONFIGDIR=/tmp/.mpl --env MPLBACKEND=Agg --log-driver none \
        --entrypoint /usr/bin/python3 "$1:${TAG:-latest}" -I - "$2" <"$here/python/selftest.py"
}

run oneshot/python-slim slim
if [ "${1:-}" != --slim-only ]; then
    run oneshot/python full
fi
