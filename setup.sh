#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing; `make run`, `make demo` and `make check`
# call it.
#
# usage: setup.sh run|demo|check
set -euo pipefail

run_packages=(gcc libc6-dev make pkg-config curl ca-certificates libmicrohttpd-dev
    libcurl4-openssl-dev libcjson-dev libyaml-dev libsqlite3-dev libssl-dev libseccomp-dev)
demo_packages=("${run_packages[@]}" python3 python3-venv)
check_packages=(check valgrind jq git iproute2 openssl procps python3 python3-venv
    sqlite3)

case ${1:-} in
run) packages=("${run_packages[@]}") ;;
demo) packages=("${demo_packages[@]}") ;;
check) packages=("${run_packages[@]}" "${check_packages[@]}") ;;
*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

fail() {
    echo "setup: $*" >&2
    exit 1
}

command -v docker >/dev/null || fail 'the docker command is missing: install Docker Engine first'
docker version >/dev/null 2>&1 || fail 'the Docker Engine does not answer: is it running, and may you use it?'

if ! command -v dpkg-query >/dev/null; then
    echo "setup: no Debian or Ubuntu; these packages are needed: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "as root: apt-get install ${missing[*]}"
    as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
