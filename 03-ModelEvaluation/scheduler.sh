#!/usr/bin/env bash
# Let Cloud Scheduler call what of this folder is scheduled; after deploy.sh.
#
#   03-ModelEvaluation/scheduler.sh --dry-run
#   03-ModelEvaluation/scheduler.sh [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/python.sh"
plan schedule 03-ModelEvaluation "$@"
