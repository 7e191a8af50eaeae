#!/usr/bin/env bash
# Let Cloud Scheduler call the audiences, for each use case with users to score; after deploy.sh.
# A use case that is no longer called loses its schedule in deploy/setup.sh.
#
#   05-Audiences/scheduler.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys audiences || exit 0
url="$(url_of audiences)"
for use_case in $use_cases_audiences; do
  job="$prefix-audiences-${use_case//_/-}"
  how_to_schedule "$job"
  # Each day, since each audience says on which days it is sent; on Mondays an hour after
  # the predictions. It waits for these by five more attempts, in three hours.
  run gcloud scheduler jobs "$verb" http "$job" \
    --schedule="0 $hour_audiences * * *" --time-zone=Etc/UTC \
    --uri="$url/" --http-method=POST --message-body='{"use_case": "'"$use_case"'"}' \
    "$header=Content-Type=application/json" \
    --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
    --attempt-deadline=1800s --max-retry-attempts=5 \
    --min-backoff=600s --max-backoff=3600s \
    --location="$region" --project="$project"
done
