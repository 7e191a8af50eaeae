#!/usr/bin/env bash
# Deploy stream_features of 04-StreamFeatures: events to rows. Beside it are deploy_*.sh
# of its three others. deploy/setup.sh comes before it, and after it the first time: then
# Pub/Sub pushes to it.
#
#   04-StreamFeatures/deploy.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=stream_features
  --memory=1Gi              # the postcode index, and appends under way
  --cpu=1                   # one event loop
  --concurrency=500         # requests share an append
  --timeout=60              # as long as Pub/Sub waits for an acknowledgement
  --min-instances=0         # events wait in Pub/Sub for a cold start
  --max-instances=20        # 300 events a second each, with room
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # Pub/Sub of this project, and no other network
  --service-account="$account_stream_features"
  --set-env-vars="$environment"
  "$secret"
)
if deploys stream_features; then
  stage stream_features
  deploy_service stream_features "${choices[@]}"
fi
