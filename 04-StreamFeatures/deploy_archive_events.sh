#!/usr/bin/env bash
# Deploy archive_events of 04-StreamFeatures: events to Parquet. deploy/setup.sh comes
# before it, and after it the first time: then Pub/Sub pushes to it.
#
#   04-StreamFeatures/deploy_archive_events.sh [--dry-run] [--settings FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=archive_events
  --memory=1Gi              # files that are being filled
  --cpu=1                   # one event loop
  --concurrency=500         # requests share a file
  --timeout=60              # as long as Pub/Sub waits for an acknowledgement
  --min-instances=0         # events wait in Pub/Sub for a cold start
  --max-instances=20        # 160 events a second each; fewer write larger files
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # Pub/Sub of this project, and no other network
  --service-account="$account_archive_events"
  --set-env-vars="$environment"
  "$secret"
)
if deploys archive_events; then
  stage archive_events
  run gcloud run deploy "$prefix-archive-events" --base-image=python311 \
    --source="$staged/archive_events" "${choices[@]}" "${common[@]}"
fi
