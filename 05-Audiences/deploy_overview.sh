#!/usr/bin/env bash
# Deploy overview of 05-Audiences: the dashboard, and the weekly message to a chat.
# deploy/setup.sh comes before it, and after it the first time: then the scheduler may call it.
#
#   05-Audiences/deploy_overview.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=overview
  --memory=1Gi              # BigQuery does the work
  --cpu=1                   # little is computed here
  --concurrency=1           # a run has its instance for itself
  --timeout=1800            # as long as the scheduler waits for an answer
  --min-instances=0         # nothing is up between runs
  --max-instances=2         # the second tells a retry 409 at once
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # the scheduler of this project, and no other network
  --service-account="$account_overview"
  --set-env-vars="$environment|THREADS=1"  # as many as requests at once
)
if deploys overview; then
  stage overview
  deploy_service overview "${choices[@]}"
fi
