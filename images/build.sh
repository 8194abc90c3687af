#!/usr/bin/env bash
# Builds the images that runs use: oneshot/python-slim and oneshot/python.
#
# usage: build.sh [--base-only] [--slim-only] [--quiet]
#   BASE_IMAGE   Python 3.11 on Debian 12 to start from (the official image where it can be pulled,
#                else one made from Debian packages, see base/make-base.sh)
#   WARDEN       the static warden                      (build/release/warden)
#   CA_BUNDLE    certificate authorities for pip, for networks that re-sign TLS (the first of
#                $SSL_CERT_FILE, $PIP_CERT, $REQUESTS_CA_BUNDLE that is there, else none)
#   TAG          tag of the images                      (latest)
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST and the proxy variables are passed on.
set -euo pipefail

# With an account of its build an image would be another one each time.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$root/build/images
log=$root/build/images.log
official=python:3.11-slim-bookworm
made=python-base:bookworm

base_only=false slim_only=false quiet=false
for argument; do
    case $argument in
    --base-only) base_only=true ;;
    --slim-only) slim_only=true ;;
    --quiet) quiet=true ;;
    *)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
    esac
done

fail() {
    echo "images: $*" >&2
    exit 1
}

# stage TEXT COMMAND...: one line with the time it took; what the command prints goes to the log.
stage() {
    local text=$1 start=$SECONDS
    shift
    printf '\n== %s\n' "$text" >>"$log"
    $quiet || printf '%-42s' "$text"
    if ! "$@" >>"$log" 2>&1; then
        $quiet || echo failed
        tail -n 30 "$log" >&2
        fail "$text failed; the whole log is $log"
    fi
    $quiet || echo "$((SECONDS - start)) s"
}

have_image() {
    docker image inspect "$1" >/dev/null 2>&1
}

# The official image where it is at hand or can be pulled; a base made here once is kept without
# asking the registry at every build. Sets base.
find_base() {
    if [ -n "${BASE_IMAGE:-}" ]; then
        base=$BASE_IMAGE
        have_image "$base" || stage "pulling $base" docker pull --quiet "$base"
        return
    fi
    base=$official
    have_image "$base" && return
    if ! have_image "$made"; then
        echo "== trying to pull $base" >>"$log"
        timeout 20 docker pull --quiet "$base" >>"$log" 2>&1 && return
    fi
    base=$made
    stage 'base image from Debian packages' "$root/images/base/make-base.sh"
}

find_ca_bundle() {
    local file
    if [ -n "${CA_BUNDLE:-}" ]; then
        [ -r "$CA_BUNDLE" ] || fail "CA_BUNDLE: cannot read '$CA_BUNDLE'"
        echo "$CA_BUNDLE"
        return
    fi
    for file in "${SSL_CERT_FILE:-}" "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}"; do
        if [ -f "$file" ] && [ -r "$file" ]; then
            echo "$file"
            return
        fi
    done
}

# Only what the Dockerfile names, so that nothing else is sent or spoils the cache.
make_context() {
    local bundle
    bundle=$(find_ca_bundle)
    rm -rf "$work/context"
    mkdir -p "$work/context/images" "$work/context/build/release"
    cp -R "$root/images/python" "$root/images/worker" "$work/context/images/"
    find "$work/context/images" -name __pycache__ -prune -exec rm -rf {} +
    rm -rf "$work/context/images/worker/tests"
    cp "${WARDEN:-$root/build/release/warden}" "$work/context/build/release/warden"
    if [ -n "$bundle" ]; then
        cp "$bundle" "$work/context/build/ca-bundle.pem"
    fi
}

pass_on=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY \
    PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST; do
    [ -z "${!name:-}" ] || pass_on+=("$name")
done

# Whether pip reaches its index from a container on this network. Where it does not pip gives up by
# itself; the limit is only for what hangs.
reaches_index() {
    local options=(--rm --network "$1" --entrypoint timeout) name
    if [ -f "$work/context/build/ca-bundle.pem" ]; then
        options+=(-v "$work/context/build/ca-bundle.pem:/ca.pem:ro" -e PIP_CERT=/ca.pem)
    fi
    for name in ${pass_on[@]+"${pass_on[@]}"}; do
        options+=(-e "$name")
    done
    docker run "${options[@]}" "$base" 300 python3 -m pip --disable-pip-version-check download \
        --retries 1 --timeout 10 --no-deps --dest /tmp cycler
}

# The network for build steps: the engine's own, or the host's where containers get no route or the
# proxy listens on the host's loopback. Asked once; a failed build asks again.
find_network() {
    [ -s "$work/network" ] && return
    local candidate
    for candidate in default host; do
        if reaches_index "$candidate"; then
            echo "$candidate" >"$work/network"
            return
        fi
    done
    echo 'no network of the engine lets pip reach its package index (proxy? CA_BUNDLE?)'
    return 1
}

build() {
    local target=$1 options=(--build-arg "BASE_IMAGE=$base" --network "$2") name
    for name in ${pass_on[@]+"${pass_on[@]}"}; do
        options+=(--build-arg "$name")
    done
    docker build --force-rm "${options[@]}" --target "$target" --tag "oneshot/$target:${TAG:-latest}" \
        --file "$work/context/images/python/Dockerfile" "$work/context" && return
    rm -f "$work/network"
    return 1
}

build_python() {
    build python "$(cat "$work/network")"
}

mkdir -p "$work"
: >"$log"
docker version >>"$log" 2>&1 || fail "no answer from the Docker engine, see $log"
find_base
$base_only && exit
warden=${WARDEN:-$root/build/release/warden}
[ -f "$warden" ] || fail "no warden at '$warden': build it first (make), or set WARDEN"
make_context
stage 'oneshot/python-slim' build python-slim none
$slim_only && exit
stage 'network for pip' find_network
stage 'oneshot/python' build_python
