#!/usr/bin/env bash
# Everything, in order: set up, deploy every function, schedule what is scheduled.
#
#   deploy/deploy_all.sh --dry-run
#   deploy/deploy_all.sh [--postcodes FILE] [--with-model] [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
plan all "$@"
