#!/usr/bin/env bash
# Deploy 03-ModelEvaluation. deploy/setup.sh comes before it, and after it the first
# time: then it lets in who may call.
#
#   03-ModelEvaluation/deploy.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=model_evaluation
  --memory=2Gi              # BigQuery groups users, so that little arrives here
  --cpu=1                   # little is computed here
  --concurrency=1           # a run has its instance for itself
  --timeout=3600            # the most there is: it makes up for missed weeks
  --min-instances=0         # nothing is up for a week
  --max-instances=10        # use cases beside each other
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # the scheduler of this project, and no other network
  --service-account="$account_model_evaluation"
  --set-env-vars="$environment|THREADS=1"  # as many as requests at once
)
if deploys model_evaluation; then
  stage model_evaluation
  deploy_service model_evaluation "${choices[@]}"
fi
