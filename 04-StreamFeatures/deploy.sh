#!/usr/bin/env bash
# Deploy 04-StreamFeatures. deploy/setup.sh comes before it, and after it the first
# time: then it lets in who may call, and pushes to.
#
#   04-StreamFeatures/deploy.sh [--dry-run] [--settings FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

# Events to rows.
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
  run gcloud run deploy "$prefix-stream-features" --base-image=python311 \
    --source="$staged/stream_features" "${choices[@]}" "${common[@]}"
fi

# Scores while events come: requirements of its own.
choices=(
  --function=score_stream
  --memory=2Gi              # scikit-learn and a few versions of a model
  --cpu=2                   # one scores while the other takes messages
  --concurrency=250         # scoring takes a processor, waiting does not
  --timeout=60              # as long as Pub/Sub waits for an acknowledgement
  --min-instances=0         # events wait in Pub/Sub for a cold start
  --max-instances=10        # with two queries each: what scoring users costs
  --cpu-throttling          # between requests no processor is paid for
  --ingress=internal        # Pub/Sub of this project, and no other network
  --service-account="$account_score_stream"
  --set-env-vars="$environment"
  "$secret"
)
if deploys score_stream; then
  stage score_stream requirements-score_stream.txt
  run gcloud run deploy "$prefix-score-stream" --base-image=python311 \
    --source="$staged/score_stream" "${choices[@]}" "${common[@]}"
fi

# Events to Parquet.
choices=(
  --function=archive_events
  --memory=1Gi              # files that are being filled
  --cpu=1                   # one event loop
  --concurrency=500         # requests share a file
  --timeout=60              # as long as Pub/Sub waits for an acknowledgement
  --min-instances=0         # events wait in Pub/Sub for a cold start
  --max-instances=5         # fewer instances write larger files
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

# The daily compaction, which also says what is late.
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
  run gcloud run deploy "$prefix-compact-features" --base-image=python311 \
    --source="$staged/compact_features" "${choices[@]}" "${common[@]}"
fi
