#!/usr/bin/env bash
# Deploy 00-ModelTraining, and the job in which deploy/operate.sh runs commands.
# deploy/setup.sh comes before it, and after it the first time: then it lets in who may call.
#
#   00-ModelTraining/deploy.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=model_training
  --memory=8Gi              # five million rows
  --cpu=4                   # fits run side by side, or each on all of them
  --concurrency=1           # a training has its instance for itself
  --timeout=3600            # the most there is; beyond it: deploy/training_job.sh
  --min-instances=0         # nothing is up for a month
  --max-instances=5         # use cases beside each other: what a new project has processors for
  --no-automatic-updates    # a whole image, which jobs run as well
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # the scheduler of this project, and no other network
  --service-account="$account_model_training"
  --set-env-vars="$environment|THREADS=1"  # as many as requests at once
  "$secret"
)
if deploys model_training; then
  stage model_training
  deploy_service model_training "${choices[@]}"
  # Of the same image. What a person or deploy/operate.sh asks for takes the words' place.
  deploy_job "$prefix-operator" "$account_operator" "operate.py|-|[\"versions\"]" --memory=8Gi --cpu=2
fi
