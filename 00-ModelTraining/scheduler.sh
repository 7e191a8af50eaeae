#!/usr/bin/env bash
# Let Cloud Scheduler call what of this folder is scheduled; after deploy.sh.
#
#   00-ModelTraining/scheduler.sh --dry-run
#   00-ModelTraining/scheduler.sh [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/python.sh"
plan schedule 00-ModelTraining "$@"
