#!/usr/bin/env bash
# Tests against another Docker Engine than the machine's: the one of a Debian suite, which runs in
# namespaces of its own, without a network, and leaves nothing behind but its root in build/.
#
# usage: newer_engine.sh SUITE [PYTEST_ARGUMENT...]
#   SUITE             such as trixie or sid; needs root and mmdebstrap
#   PYTEST_ARGUMENT   which tests of tests/e2e   (a few that together need every call of an engine)
#   APT_MIRROR        of Debian                  (what mmdebstrap chooses)
set -euo pipefail
START_S=60

if [ $# -eq 0 ]; then
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
suite=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
top=$PWD
root=$top/build/engine-$suite
share=$root/srv/engine
cgroup=oneshot-test-engine-$$
[ $# -gt 0 ] || set -- tests/e2e/test_{smoke,create_body,pools,kill,forged,no_engine_calls}.py

make_root() {
    [ ! -f "$root/made" ] || return 0
    rm -rf "$root"
    mmdebstrap --quiet --variant=apt --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        --include=docker.io,fuse-overlayfs,iproute2,iptables "$suite" "$root" \
        ${APT_MIRROR:+"$APT_MIRROR"}
    mkdir -p "$share"
    echo '{}' >"$share/daemon.json"
    touch "$root/made"
}

# Its first process is the engine: whoever ends that ends all of it.
# shellcheck disable=SC2016 # the inner shells expand these
start_engine() {
    setpriv --pdeathsig KILL unshare --mount --pid --net --fork --mount-proc --kill-child sh -ec '
        ip link set lo up
        mount --bind "$1" "$1"
        for name in sys dev; do mount --rbind "/$name" "$1/$name"; done
        mount -t proc proc "$1/proc"
        cd "$1"
        shift
        pivot_root . mnt
        exec chroot . "$@"' sh "$root" sh -ec '
        umount -l /mnt
        mount -t tmpfs tmpfs /run
        cd /srv/engine
        exec dockerd --config-file "$PWD/daemon.json" --data-root "$PWD/data" \
            --exec-root /run/docker --pidfile /run/docker.pid --host "unix://$PWD/docker.sock" \
            --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$1" --storage-driver "$2" \
            --bridge none --iptables=false --ip6tables=false --log-level warn' sh "$cgroup" \
        "$(docker info --format '{{.Driver}}')" >"$share/log" 2>&1 &
    engine=$!
}

# shellcheck disable=SC2329 # by the trap
stop_engine() {
    local first
    first=$(cat "/proc/$engine/task/$engine/children" 2>/dev/null) || true
    # shellcheck disable=SC2086 # none or one
    kill -TERM $first 2>/dev/null || true
    wait "$engine" || true
    find /sys/fs/cgroup -depth -type d -path "*/$cgroup*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$share/data" "$share/docker.sock"
}

make_root
start_engine
trap stop_engine EXIT
for ((i = 0; i < START_S * 10; i++)); do
    ! docker --host "unix://$share/docker.sock" version >/dev/null 2>&1 || break
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.1
done
for image in oneshot/python-slim oneshot/python; do
    docker save "$image" | docker --host "unix://$share/docker.sock" load --quiet >/dev/null
done

export DOCKER_HOST=unix://$share/docker.sock DOCKER_SOCKET=$share/docker.sock
docker version --format 'engine {{.Server.Version}}, API {{.Server.APIVersion}}, at least {{.Server.MinAPIVersion}}'
rc=0
ONESHOT_TEST_IMAGE=oneshot/python-slim tests/unit/run.sh build/release/unit/test_engine_real || rc=1
build/venv-tests/bin/python -m pytest -q "$@" || rc=1
exit $rc
