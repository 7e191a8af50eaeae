#!/usr/bin/env bash
# Deploy score_stream as deploy/functions.toml describes it; --dry-run prints the command.
exec "$(dirname "${BASH_SOURCE[0]}")/../deploy/function.sh" score_stream "$@"
