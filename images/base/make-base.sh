#!/usr/bin/env bash
# Makes a base image from Debian packages, for machines that reach a Debian mirror but no image
# registry: python-base:bookworm for the run images (Python 3.11 with pip for the build stages; the
# images are assembled from an allow-list, ../python/rootfs.py, so nothing here has to be small),
# or debian-base:bookworm for the orchestrator's image (Debian with apt).
#
# usage: make-base.sh [--debian] [--force]
#   BASE_TAG            name of the image             (one of the above)
#   APT_MIRROR          mirror for all suites         (what this machine's apt uses for bookworm,
#                                                      else mmdebstrap's default)
#   SOURCE_DATE_EPOCH   upper bound of file times     (the release of bookworm)
# An image made by the same recipe is kept; --force makes it again to pick up security updates.
set -euo pipefail

tag=python-base:bookworm
variant=essential
command='["python3"]'
suite=bookworm
packages=python3,python3-distutils,python3-gdbm,python3-pip,ca-certificates,libgomp1,libstdc++6,media-types,netbase,openssl,tzdata
# One fixed time for all files: the same packages then give the same layer.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1686355200}

fail() {
    echo "make-base: $*" >&2
    exit 1
}

force=false
for argument; do
    case $argument in
    --debian)
        tag=debian-base:bookworm
        variant=apt
        command='["bash"]'
        packages=ca-certificates
        ;;
    --force) force=true ;;
    *) fail "there is no option '$argument'" ;;
    esac
done
tag=${BASE_TAG:-$tag}

# The Debian entries of this machine's apt, without third-party repositories: what apt can fetch
# here, mmdebstrap can fetch too. Empty where the machine runs another release.
host_sources() {
    command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2016  # apt expands these
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$suite" '
            $2 ~ "^" suite "(-updates|-security)?$" && $3 == "main" { print "deb", $0 }' | sort -u
}

# Proxies, certificates and clock checks that somebody had to configure for apt hold here as well.
host_apt_options() {
    command -v apt-config >/dev/null || return 0
    apt-config dump Acquire |
        grep -Ei '^Acquire::(https?::|Check-|Retries|ForceIPv)[^ ]* "[^"]+";$' || true
}

install_mmdebstrap() {
    command -v mmdebstrap >/dev/null && return 0
    [ "$(id -u)" = 0 ] || fail "mmdebstrap is missing; as root: apt-get install mmdebstrap"
    command -v apt-get >/dev/null ||
        fail "mmdebstrap is missing and this is no Debian: set BASE_IMAGE to a Python 3.11 image"
    echo "installing mmdebstrap"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends mmdebstrap >/dev/null
}

sources=$(if [ -z "${APT_MIRROR:-}" ]; then host_sources; fi)
recipe=$({
    cat "${BASH_SOURCE[0]}"
    echo "$variant $packages ${APT_MIRROR:-$sources} $SOURCE_DATE_EPOCH"
} | sha256sum | cut -c1-16)
if ! $force; then
    have=$(docker image inspect -f '{{index .Config.Labels "oneshot.recipe"}}' "$tag" 2>/dev/null || true)
    [ "$have" = "$recipe" ] && exit 0
fi

install_mmdebstrap
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp" # in user-namespace mode mmdebstrap reads it as another user
host_apt_options >"$tmp/apt.conf"

# The suite alone makes mmdebstrap choose; a mirror or "-" (lines on stdin) decides for it.
from=()
[ -z "${APT_MIRROR:-}" ] || from=("$APT_MIRROR")
[ -z "$sources" ] || from=(-)
echo "fetching Debian packages (${APT_MIRROR:-${sources:+mirror of this machine}})"
# Essential: dpkg and its few friends, no apt inside; "apt" adds that. Documents and translations never get unpacked.
mmdebstrap --mode=auto --variant="$variant" --include="$packages" --format=tar \
    --aptopt="$tmp/apt.conf" --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "$suite" "$tmp/base.tar" ${from[@]+"${from[@]}"} <<<"$sources"

docker import --change "LABEL oneshot.recipe=$recipe" --change 'ENV LANG=C.UTF-8' \
    --change "CMD $command" "$tmp/base.tar" "$tag"
