#!/usr/bin/env bash
# Deploy what of this folder is not deployed as it is here; after deploy/setup.sh.
#
#   01-Predictions/deploy.sh --dry-run
#   01-Predictions/deploy.sh [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/python.sh"
plan deploy 01-Predictions "$@"
