#!/usr/bin/env bash
# Let Cloud Scheduler call the predictions, for each use case with users to score; after deploy.sh.
# A use case that is no longer called loses its schedule in deploy/setup.sh.
#
#   01-Predictions/scheduler.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys predictions || exit 0
url="$(url_of predictions)"
for use_case in $use_cases_predictions; do
  job="$prefix-predictions-${use_case//_/-}"
  how_to_schedule "$job"
  # Five hours after the evaluation, which has given up its last attempt by then.
  run gcloud scheduler jobs "$verb" http "$job" \
    --schedule="0 $hour_predictions * * $days_predictions" --time-zone=Etc/UTC \
    --uri="$url/" --http-method=POST --message-body='{"use_case": "'"$use_case"'"}' \
    "$header=Content-Type=application/json" \
    --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
    --attempt-deadline=1800s --max-retry-attempts=4 \
    --min-backoff=600s --max-backoff=3600s \
    --location="$region" --project="$project"
done
