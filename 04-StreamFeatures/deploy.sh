#!/usr/bin/env bash
# Deploy what of this folder is not deployed as it is here; after deploy/setup.sh.
#
#   04-StreamFeatures/deploy.sh --dry-run
#   04-StreamFeatures/deploy.sh [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/python.sh"
plan deploy 04-StreamFeatures "$@"
