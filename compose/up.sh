#!/usr/bin/env bash
# Starts or stops the service through compose: what `make up` and `make down` do. The run images
# are built if they are missing; the orchestrator is built from source inside its image.
#
# usage: up.sh up|down
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$root/compose

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --project-name oneshot --project-directory "$here" \
            --file "$here/docker-compose.yml" "$@"
    elif command -v docker-compose >/dev/null; then
        docker-compose --project-name oneshot --project-directory "$here" \
            --file "$here/docker-compose.yml" "$@"
    else
        echo 'up: neither docker-compose nor the compose plugin of docker is installed' >&2
        return 1
    fi
}

case ${1:-} in
up)
    ORCHESTRATOR_BASE_IMAGE=${ORCHESTRATOR_BASE_IMAGE:-$("$root/images/base/find-debian.sh")}
    export ORCHESTRATOR_BASE_IMAGE
    compose up --detach --build sandbox
    end=$((SECONDS + 120))
    until curl -sf "http://127.0.0.1:${ONESHOT_PORT:-8000}/ready" >/dev/null; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo 'up: the service did not become ready; its log:' >&2
            compose logs --tail 20 sandbox >&2
            exit 1
        fi
        sleep 0.5
    done
    cat <<TEXT
Running.
  aiq         http://127.0.0.1:${AIQ_PORT:-6000}/execute
  telemetry   http://127.0.0.1:${TELEMETRY_PORT:-8080}/
  native      http://127.0.0.1:${ONESHOT_PORT:-8000}/v1/runs
  log         docker logs -f ${SANDBOX_CONTAINER:-local-sandbox}
  stop        make down
TEXT
    ;;
down) compose down --timeout 40 ;;
*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
