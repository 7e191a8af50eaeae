#!/usr/bin/env bash
# Deploy what of this folder is not deployed as it is here; after deploy/setup.sh.
#
#   03-ModelEvaluation/deploy.sh --dry-run
#   03-ModelEvaluation/deploy.sh [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/python.sh"
plan deploy 03-ModelEvaluation "$@"
