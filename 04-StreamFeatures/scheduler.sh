#!/usr/bin/env bash
# Let Cloud Scheduler call the compaction, once for all use cases; after deploy.sh.
# Without compact_features among DEPLOY_FUNCTIONS deploy/setup.sh deletes its schedule.
#
#   04-StreamFeatures/scheduler.sh [--dry-run] [--settings FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys compact_features || exit 0
url="$(url_of compact_features)"
job="$prefix-compact-features"
how_to_schedule "$job"
# 01:30 every day: late events of the day before are in.
run gcloud scheduler jobs "$verb" http "$job" \
  --schedule="30 1 * * *" --time-zone="$time_zone" \
  --uri="$url/" --http-method=POST --message-body='{}' \
  "$header=Content-Type=application/json" \
  --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
  --attempt-deadline=1800s --max-retry-attempts=5 \
  --min-backoff=300s --max-backoff=1200s \
  --location="$region" --project="$project"
