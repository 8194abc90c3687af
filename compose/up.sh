#!/usr/bin/env bash
# Starts or stops the two services through compose: what `make up` and `make down` do. The run
# images are built if they are missing; the orchestrator is built from source inside its image.
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
# With an account of its build the image would be another one each time, and so would the containers.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

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

# url SERVICE PORT_IN_CONTAINER
url() {
    local at
    at=$(compose port "$1" "$2")
    echo "http://${at/0.0.0.0/127.0.0.1}"
}

# The guide of the model: the one beside the Makefile if there is one, else the example. One that is
# there is left alone.
put_guide() {
    local dir from=$root/prompt-guide.txt
    dir=$(setting PROMPT_GUIDE_DIR ./guide)
    [ -f "$from" ] || from=$root/prompt-guide.txt.example
    (
        cd "$here"
        mkdir -p "$dir"
        [ -f "$dir/prompt-guide.txt" ] || cp "$from" "$dir/prompt-guide.txt"
        # The service is another user.
        chmod a+r "$dir/prompt-guide.txt"
    )
}

# Networks of the data sources, beside datalink: a compose file cannot take a list from a variable.
join_networks() {
    local name id networks
    networks=$(setting EXTRA_NETWORKS '')
    id=$(compose ps -q sandbox)
    for name in ${networks//,/ }; do
        docker inspect --format '{{range $n, $_ := .NetworkSettings.Networks}}{{println $n}}{{end}}' \
            "$id" | grep -qxF -- "$name" || docker network connect "$name" "$id"
    done
}

# wait_for SERVICE URL
wait_for() {
    local end=$((SECONDS + 120))
    until curl -sf "$2" >/dev/null; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "up: $1 did not become ready; its log:" >&2
            compose logs --tail 20 "$1" >&2
            return 1
        fi
        sleep 0.5
    done
}

up() {
    local output native generator
    ORCHESTRATOR_BASE_IMAGE=$(setting ORCHESTRATOR_BASE_IMAGE '')
    : "${ORCHESTRATOR_BASE_IMAGE:=$("$root/images/base/find-debian.sh")}"
    BUILD_NETWORK=$(setting BUILD_NETWORK '')
    : "${BUILD_NETWORK:=$(find_network)}"
    export ORCHESTRATOR_BASE_IMAGE BUILD_NETWORK
    # Made here, else the engine makes them and root owns what is written there.
    output=$(setting OUTPUT_DATA_PATH ../output)
    (cd "$here" && mkdir -p "$output" "$(setting TOOLS_DIR ./tools)")
    put_guide

    compose up --detach --build sandbox code-generator
    join_networks
    native=$(url sandbox 8000)
    generator=$(url code-generator 3030)
    wait_for sandbox "$native/ready"
    wait_for code-generator "$generator/api/health"
    cat <<TEXT
Running.
  aiq         $(url sandbox 6000)/execute
  telemetry   $(url sandbox 8080)/
  generator   $generator/api/generate-code
  executor    $(url sandbox 8030)/execute
  native      $native/v1/runs
  log         docker logs -f $(setting SANDBOX_CONTAINER local-sandbox)
              docker logs -f $(setting GENERATOR_CONTAINER code-generator)
  stop        make down
TEXT
    [ -n "$(setting COHERE_API_KEY '')" ] ||
        echo 'COHERE_API_KEY is not set (compose/.env): the generator answers 503 until it is.'
}

case ${1:-} in
up) up ;;
down) compose down --timeout 40 ;;
*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
