#!/usr/bin/env bash
# Deploy model_training as deploy/functions.toml describes it; --dry-run prints the command.
exec "$(dirname "${BASH_SOURCE[0]}")/../deploy/function.sh" model_training "$@"
