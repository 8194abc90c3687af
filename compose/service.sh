#!/usr/bin/env bash
# Starts and stops the service on this machine, without compose: what `make run` and `make stop` do.
#
# usage: service.sh start|stop
#   Settings: oneshot.yaml beside the Makefile or the variables that oneshot.yaml.example names,
#   such as ONESHOT_STATE_DIR, SANDBOX_PORT, TELEMETRY_PORT, EXECUTOR_PORT, ONESHOT_PORT.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
oneshot=$root/build/release/oneshot
cd "$root"
# A file that is wrong by now must not keep anybody from stopping what runs.
settings=$("$oneshot" check | sed -n '1,/^---$/p') || settings=

# url DIALECT: where it is spoken, as the settings say
url() {
    local at
    at=$(sed -nE "s/^  - \{address: ([^,]+), port: ([0-9]+), dialects: \[([^]]*, )?$1[],].*/\1:\2/p" \
        <<<"$settings" | head -n 1)
    [ -z "$at" ] || echo "http://${at/#0.0.0.0:/127.0.0.1:}"
}

state=$(sed -n 's/^state_dir: //p' <<<"$settings")
state=${state#\"} state=${state%\"}
: "${state:=${ONESHOT_STATE_DIR:-/var/lib/oneshot}}"
pid_file=$state/oneshot.pid
log=$state/oneshot.log
native=$(url native)
aiq=$(url aiq)
telemetry=$(url telemetry)
generator=$(url generator)
generator=${generator:+$generator/api/generate-code}
executor=$(url executor)
executor=${executor:+$executor/execute}

# The monitor that the file names, if it is one of ours and still alive.
running() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    [ -n "$pid" ] && grep -qs oneshot "/proc/$pid/cmdline" && echo "$pid"
}

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        printf .
        sleep 0.2
    done
}

stop() {
    local pid
    pid=$(running) || {
        echo 'not running'
        return 0
    }
    kill -TERM "$pid"
    until_true 60 not_running || {
        echo "still running after a minute: process $pid" >&2
        return 1
    }
    printf "\nstopped\n"
}

not_running() {
    ! running
}

start() {
    local pid reply
    if pid=$(running); then
        echo "Already running as process $pid (make stop ends it)."
    else
        mkdir -p "$state"
        setsid "$oneshot" serve >>"$log" 2>&1 </dev/null &
        printf 'Starting'
        until_true 120 ready_or_gone $! || true
        echo
    fi
    curl -sf "$native/ready" >/dev/null || {
        echo "The service did not become ready; the end of $log:" >&2
        tail -n 20 "$log" >&2
        return 1
    }
    reply=$(curl -sS -H 'Content-Type: application/json' "$aiq/execute" \
        -d '{"generated_code": "import sys; print(6 * 7, sys.version.split()[0])", "timeout": 30}')
    case $reply in
    *'"completed"'*'42 3.'*) ;;
    *)
        echo "The proof run failed: $reply" >&2
        return 1
        ;;
    esac
    cat <<TEXT
Running, and one program was run: $reply

  aiq         $aiq/execute
  telemetry   ${telemetry:-(no listener)}
  generator   ${generator:-(no listener)}
  executor    ${executor:-(no listener)}
  native      $native/v1/runs    $native/health    $native/metrics

  log         $log
  command     $oneshot run program.py
  stop        make stop
TEXT
}

# ready_or_gone PID
ready_or_gone() {
    curl -sf "$native/ready" || ! kill -0 "$1"
}

case ${1:-} in
start)
    [ -n "$settings" ] || exit 2
    [ -n "$native" ] && [ -n "$aiq" ] || {
        echo 'service: the settings have no listener for native and aiq' >&2
        exit 2
    }
    start
    ;;
stop) stop ;;
*)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
