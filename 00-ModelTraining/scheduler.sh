#!/usr/bin/env bash
# Let Cloud Scheduler call model_training when deploy/functions.toml says; --dry-run prints the command.
exec "$(dirname "${BASH_SOURCE[0]}")/../deploy/schedule.sh" model_training "$@"
