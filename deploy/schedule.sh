#!/usr/bin/env bash
# Let Cloud Scheduler call a function when deploy/functions.toml says: for each use case, or
# once; after deploy/function.sh. A use case that is no longer called loses its schedule in
# deploy/setup.sh. A training that starts a Cloud Run job (deploy/training_job.sh --schedule)
# is left alone.
#
#   deploy/schedule.sh FUNCTION [--dry-run] [--deployment FILE]
#   deploy/schedule.sh model_training --function    let it call the function again
set -euo pipefail
# By deploy/flags.py: called=(ga4_purchase), what it is called for; crons=('0 8 1 * *'), when
# for each; clock=(--time-zone=Etc/UTC …). By common.sh: verb, header and calls.
target="${1:-}" takes="--function"
[[ $# == 0 ]] || shift
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

deploys "$target" || exit 0
url="$(url_of "$target")"
for n in ${called[@]+"${!called[@]}"}; do
  use_case="${called[n]}"
  job="$prefix-${target//_/-}" request="{}"
  if [[ -n "$use_case" ]]; then
    job+="-${use_case//_/-}" request='{"use_case": "'"$use_case"'"}'
  fi
  how_to_schedule "$job"
  if [[ "$calls" == *:run && "$options" != *" --function "* ]]; then
    echo "# $job starts a training job, and deploy/training_job.sh updates its image. --function schedules the function again"
    continue
  fi
  run gcloud scheduler jobs "$verb" http "$job" --schedule="${crons[n]}" "${clock[@]}" \
    --uri="$url/" --http-method=POST --message-body="$request" \
    "$header=Content-Type=application/json" \
    --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
    --location="$region" --project="$project"
done
