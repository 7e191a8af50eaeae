#!/usr/bin/env bash
# Let Cloud Scheduler call overview, once for all use cases; after deploy_overview.sh.
# Without overview among DEPLOY_FUNCTIONS deploy/setup.sh deletes its schedule.
#
#   05-Audiences/scheduler_overview.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys overview || exit 0
url="$(url_of overview)"
job="$prefix-overview"
how_to_schedule "$job"
# Four hours after the audiences, which have given up their last attempt by then.
run gcloud scheduler jobs "$verb" http "$job" \
  --schedule="0 $hour_overview * * $days_overview" --time-zone=Etc/UTC \
  --uri="$url/" --http-method=POST --message-body='{}' \
  "$header=Content-Type=application/json" \
  --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
  --attempt-deadline=1800s --max-retry-attempts=5 \
  --min-backoff=300s --max-backoff=1200s \
  --location="$region" --project="$project"
