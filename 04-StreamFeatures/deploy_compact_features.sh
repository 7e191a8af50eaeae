#!/usr/bin/env bash
# Deploy compact_features of 04-StreamFeatures: the daily compaction, which also says what
# is late. deploy/setup.sh comes before it, and after it the first time: then the
# scheduler may call it.
#
#   04-StreamFeatures/deploy_compact_features.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=compact_features
  --memory=1Gi              # BigQuery does the work
  --cpu=1                   # little is computed here
  --concurrency=1           # a run has its instance for itself
  --timeout=1800            # as long as the scheduler waits for an answer
  --min-instances=0         # nothing is up for a day
  --max-instances=2         # the second tells a retry 409 at once
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # the scheduler of this project, and no other network
  --service-account="$account_compact_features"
  --set-env-vars="$environment|THREADS=1"  # as many as requests at once
)
if deploys compact_features; then
  stage compact_features
  deploy_service compact_features "${choices[@]}"
fi
