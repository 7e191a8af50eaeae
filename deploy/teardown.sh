#!/usr/bin/env bash
# Remove everything that the other scripts created. Asks; keeps dataset, bucket and
# waiting messages unless told --delete-data.
#
#   deploy/teardown.sh --dry-run
#   deploy/teardown.sh [--delete-data] [--yes] [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
plan teardown "$@"
