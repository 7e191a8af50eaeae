#!/usr/bin/env bash
# Deploy get_proba as deploy/functions.toml describes it; --dry-run prints the command.
exec "$(dirname "${BASH_SOURCE[0]}")/../deploy/function.sh" get_proba "$@"
