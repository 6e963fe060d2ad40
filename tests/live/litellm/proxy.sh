#!/bin/sh
# A LiteLLM proxy for the live tests, in an environment of its own: what it depends on is nothing the router needs.
#   proxy.sh install      make the environment
#   proxy.sh serve PORT   serve config.yaml on loopback, in the foreground
# PRACTICE_ORIGIN and LITELLM_MASTER_KEY are read by the configuration; LITELLM_VENV is another place to install to.
set -eu

# Pinned: releases of this package have been tampered with before (1.82.7 and 1.82.8).
VERSION=1.106.2

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=${LITELLM_VENV:-"$here/../../../build/litellm-venv"}

case "${1-}" in
install)
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "litellm[proxy]==$VERSION"
    ;;
serve)
    # The table of prices that it would fetch comes with it, too.
    LITELLM_LOCAL_MODEL_COST_MAP=True exec "$venv/bin/litellm" --config "$here/config.yaml" --host 127.0.0.1 --port "$2"
    ;;
*)
    echo "usage: proxy.sh install | serve PORT" >&2
    exit 2
    ;;
esac
