#!/usr/bin/env bash
# Let Cloud Scheduler call the training, for each use case; after deploy.sh.
# A use case that is no longer called loses its schedule in deploy/setup.sh.
#
# One that starts a Cloud Run job (deploy/training_job.sh --schedule) is left alone.
#
#   00-ModelTraining/scheduler.sh [--dry-run] [--deployment FILE]
#   00-ModelTraining/scheduler.sh --function    let it call the function again
set -euo pipefail
takes="--function"
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

deploys model_training || exit 0
url="$(url_of model_training)"
for use_case in $use_cases_model_training; do
  job="$prefix-model-training-${use_case//_/-}"
  how_to_schedule "$job"
  if [[ "$calls" == *:run && "$options" != *" --function "* ]]; then
    echo "# $job starts a training job, and deploy/training_job.sh updates its image. --function schedules the function again"
    continue
  fi
  # 08:00 on the first of the month. Three more attempts outlast the wait for a late
  # export; more would be paid for where a training is killed for its memory, which
  # tells the scheduler nothing: each reads the export whole.
  run gcloud scheduler jobs "$verb" http "$job" \
    --schedule="0 $hour_model_training 1 * *" --time-zone=Etc/UTC \
    --uri="$url/" --http-method=POST --message-body='{"use_case": "'"$use_case"'"}' \
    "$header=Content-Type=application/json" \
    --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
    --attempt-deadline=1800s --max-retry-attempts=3 \
    --min-backoff=3600s --max-backoff=3600s \
    --location="$region" --project="$project"
done
