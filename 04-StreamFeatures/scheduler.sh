#!/usr/bin/env bash
# Let Cloud Scheduler call the compaction, once for all use cases; after deploy.sh.
# Without compact_features among DEPLOY_FUNCTIONS deploy/setup.sh deletes its schedule.
#
#   04-StreamFeatures/scheduler.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys compact_features || exit 0
url="$(url_of compact_features)"
job="$prefix-compact-features"
how_to_schedule "$job"
# 03:30 UTC every day, whatever DEPLOY_TIME_ZONE: a zone's own night has days of 23 and of
# 25 hours, without a run or without one for longer than the alert waits.
run gcloud scheduler jobs "$verb" http "$job" \
  --schedule="30 3 * * *" --time-zone=Etc/UTC \
  --uri="$url/" --http-method=POST --message-body='{}' \
  "$header=Content-Type=application/json" \
  --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
  --attempt-deadline=1800s --max-retry-attempts=5 \
  --min-backoff=300s --max-backoff=1200s \
  --location="$region" --project="$project"
