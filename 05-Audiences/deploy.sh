#!/usr/bin/env bash
# Deploy 05-Audiences. deploy/setup.sh comes before it, and after it the first
# time: then it lets in who may call.
#
#   05-Audiences/deploy.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=audiences
  --memory=2Gi              # a million members take 1.6 GiB
  --cpu=1                   # it waits for receivers
  --concurrency=1           # a run has its instance for itself
  --timeout=3600            # the longest allowed; the next call continues from there
  --min-instances=0         # nothing is up between runs
  --max-instances=10        # use cases beside each other
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # the scheduler of this project, and no other network
  --service-account="$account_audiences"
  --set-env-vars="$environment|THREADS=1"  # as many as requests at once
  "$secret"
)
if deploys audiences; then
  stage audiences
  deploy_service audiences "${choices[@]}"
fi
