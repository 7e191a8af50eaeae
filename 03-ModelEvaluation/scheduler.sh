#!/usr/bin/env bash
# Let Cloud Scheduler call the evaluation, for each use case; after deploy.sh.
# A use case that is no longer called loses its schedule in deploy/setup.sh.
#
#   03-ModelEvaluation/scheduler.sh [--dry-run] [--settings FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys model_evaluation || exit 0
url="$(url_of model_evaluation)"
for use_case in $use_cases_model_evaluation; do
  job="$prefix-model-evaluation-${use_case//_/-}"
  how_to_schedule "$job"
  # 12:00 on Mondays: before the predictions that replace the week's.
  run gcloud scheduler jobs "$verb" http "$job" \
    --schedule="0 $hour_model_evaluation * * 1" --time-zone=Etc/UTC \
    --uri="$url/" --http-method=POST --message-body='{"use_case": "'"$use_case"'"}' \
    "$header=Content-Type=application/json" \
    --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
    --attempt-deadline=1800s --max-retry-attempts=4 \
    --min-backoff=600s --max-backoff=3600s \
    --location="$region" --project="$project"
done
