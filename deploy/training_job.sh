#!/usr/bin/env bash
# Trainings as Cloud Run jobs, of the very image that the deployed function runs in: for
# those that take longer than Cloud Scheduler waits. --schedule lets the clock start the
# job in the place of the function; 00-ModelTraining/scheduler.sh --function goes back.
#
#   deploy/training_job.sh [--schedule] [--dry-run] [--deployment FILE]
set -euo pipefail
takes="--schedule" target=model_training
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

size=()
for word in "${service[@]}"; do
  [[ "$word" != --memory=* && "$word" != --cpu=* ]] || size+=("$word")
done

for use_case in $trained; do
  job="$prefix-training-job-${use_case//_/-}"
  # job.py repeats what may pass.
  deploy_job "$job" "$account_model_training" \
    "job.py|model_training|{\"use_case\": \"$use_case\"}" "${size[@]}"
  run gcloud run jobs add-iam-policy-binding "$job" --role=roles/run.invoker \
    --member="serviceAccount:$account_scheduler" --project="$project" --region="$region"
  [[ "$options" == *" --schedule "* ]] || continue
  start="$prefix-model-training-${use_case//_/-}"
  how_to_schedule "$start"
  run gcloud scheduler jobs "$verb" http "$start" --schedule="${crons[0]}" "${clock[@]}" \
    --uri="https://run.googleapis.com/v2/projects/$project/locations/$region/jobs/$job:run" \
    --http-method=POST --message-body='{}' "$header=Content-Type=application/json" \
    --oauth-service-account-email="$account_scheduler" \
    --location="$region" --project="$project"
done
