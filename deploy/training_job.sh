#!/usr/bin/env bash
# Trainings as Cloud Run jobs, of the very image that the deployed function runs in: for
# those that take longer than Cloud Scheduler waits. --schedule lets the clock start the
# job in the place of the function; 00-ModelTraining/scheduler.sh goes back.
#
#   deploy/training_job.sh --dry-run
#   deploy/training_job.sh [--schedule] [--settings FILE]
set -euo pipefail
# shellcheck source=deploy/python.sh
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
plan training-job "$@"
