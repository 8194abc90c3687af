#!/usr/bin/env bash
# Prints the name of a Debian 12 image with apt: the official one where it is at hand or can be
# pulled within 20 s, else one made here from Debian packages.
set -euo pipefail

official=debian:bookworm-slim
made=debian-base:bookworm

if docker image inspect "$official" >/dev/null 2>&1; then
    echo "$official"
elif docker image inspect "$made" >/dev/null 2>&1; then
    echo "$made"
elif timeout 20 docker pull --quiet "$official" >/dev/null 2>&1; then
    echo "$official"
else
    "$(dirname "${BASH_SOURCE[0]}")/make-base.sh" --debian >&2
    echo "$made"
fi
