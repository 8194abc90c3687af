#!/usr/bin/env bash
# Starts or stops the service through compose: what `make up` and `make down` do. The run images
# are built if they are missing; the orchestrator is built from source inside its image.
#
# usage: up.sh up|down
#   Variables of the shell, or of compose/.env: see compose/.env.example.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$root/compose

# setting NAME DEFAULT: from the shell, else from compose/.env, as compose itself reads them.
setting() {
    local value=${!1:-}
    if [ -z "$value" ] && [ -f "$here/.env" ]; then
        value=$(sed -n "s/^$1=//p" "$here/.env" | tail -n 1)
        value=${value%\"} value=${value#\"}
    fi
    echo "${value:-$2}"
}

COMPOSE_PROJECT_NAME=$(setting COMPOSE_PROJECT_NAME oneshot)
export COMPOSE_PROJECT_NAME

compose() {
    local command=(docker-compose)
    if docker compose version >/dev/null 2>&1; then
        command=(docker compose)
    elif ! command -v docker-compose >/dev/null; then
        echo 'up: neither docker-compose nor the compose plugin of docker is installed' >&2
        return 1
    fi
    "${command[@]}" --project-directory "$here" --file "$here/docker-compose.yml" "$@"
}

# The network from which apt reaches its mirror: the engine's own, else the host's (no route for
# containers, or a proxy on the host's loopback). Asked once.
find_network() {
    local file=$root/build/images/apt-network options=() name
    [ ! -s "$file" ] || {
        cat "$file"
        return
    }
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || options+=(-e "$name")
    done
    mkdir -p "$(dirname "$file")"
    # The head of the index only: what is asked is whether the mirror answers.
    for name in default host; do
        if docker run --rm --network "$name" ${options[@]+"${options[@]}"} \
            --entrypoint timeout "$ORCHESTRATOR_BASE_IMAGE" 300 apt-get update -qq \
            -o APT::Update::Error-Mode=any -o Acquire::Retries=1 \
            -o Acquire::IndexTargets::deb::Packages::DefaultEnabled=false \
            -o Acquire::IndexTargets::deb::Translations::DefaultEnabled=false >&2; then
            echo "$name" | tee "$file"
            return
        fi
    done
    echo 'up: apt reaches no mirror from a container; the build may fail' >&2
    echo default
}

# url PORT_IN_CONTAINER
url() {
    local at
    at=$(compose port sandbox "$1")
    echo "http://${at/0.0.0.0/127.0.0.1}"
}

up() {
    local output end native
    ORCHESTRATOR_BASE_IMAGE=$(setting ORCHESTRATOR_BASE_IMAGE '')
    : "${ORCHESTRATOR_BASE_IMAGE:=$("$root/images/base/find-debian.sh")}"
    BUILD_NETWORK=$(setting BUILD_NETWORK '')
    : "${BUILD_NETWORK:=$(find_network)}"
    export ORCHESTRATOR_BASE_IMAGE BUILD_NETWORK
    # Made here, else the engine makes it and root owns what is written there.
    output=$(setting OUTPUT_DATA_PATH ../output)
    (cd "$here" && mkdir -p "$output")

    compose up --detach --build sandbox
    native=$(url 8000)
    end=$((SECONDS + 120))
    until curl -sf "$native/ready" >/dev/null; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo 'up: the service did not become ready; its log:' >&2
            compose logs --tail 20 sandbox >&2
            return 1
        fi
        sleep 0.5
    done
    cat <<TEXT
Running.
  aiq         $(url 6000)/execute
  telemetry   $(url 8080)/
  native      $native/v1/runs
  log         docker logs -f $(setting SANDBOX_CONTAINER local-sandbox)
  stop        make down
TEXT
}

case ${1:-} in
up) up ;;
down) compose down --timeout 40 ;;
*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
