#!/usr/bin/env bash
# Create all that functions need: APIs, roles, accounts, dataset, tables and views,
# bucket, topics, subscriptions, rights and alerts. What is there already stays.
#
#   deploy/setup.sh --dry-run
#   deploy/setup.sh [--postcodes FILE] [--with-model] [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
plan setup "$@"
