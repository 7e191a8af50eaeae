#!/usr/bin/env bash
# Deploy 01-Predictions. deploy/setup.sh comes before it, and after it the first
# time: then it lets in who may call.
#
#   01-Predictions/deploy.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=predictions
  --memory=4Gi              # batches of users, and the index: 56 bytes a user
  --cpu=2                   # one scores while the other reads
  --concurrency=1           # a run has its instance for itself
  --timeout=3600            # the most there is: a hundred million users
  --min-instances=0         # nothing is up for a week
  --max-instances=10        # use cases beside each other: what a new project has processors for
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # the scheduler of this project, and no other network
  --service-account="$account_predictions"
  --set-env-vars="$environment|THREADS=1"  # as many as requests at once
  "$secret"
)
if deploys predictions; then
  stage predictions
  deploy_service predictions "${choices[@]}"
fi
