#!/usr/bin/env bash
# Let Cloud Scheduler call the evaluation, for each use case; after deploy.sh.
# A use case that is no longer called loses its schedule in deploy/setup.sh.
#
#   03-ModelEvaluation/scheduler.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys model_evaluation || exit 0
url="$(url_of model_evaluation)"
for use_case in $use_cases_model_evaluation; do
  job="$prefix-model-evaluation-${use_case//_/-}"
  how_to_schedule "$job"
  # At 12:00, before the predictions of the same day.
  run gcloud scheduler jobs "$verb" http "$job" \
    --schedule="0 $hour_model_evaluation * * $days_model_evaluation" --time-zone=Etc/UTC \
    --uri="$url/" --http-method=POST --message-body='{"use_case": "'"$use_case"'"}' \
    "$header=Content-Type=application/json" \
    --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
    --attempt-deadline=1800s --max-retry-attempts=4 \
    --min-backoff=600s --max-backoff=3600s \
    --location="$region" --project="$project"
done
