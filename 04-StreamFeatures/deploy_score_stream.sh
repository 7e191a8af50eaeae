#!/usr/bin/env bash
# Deploy score_stream of 04-StreamFeatures, which scores while events come: requirements
# of its own. deploy/setup.sh comes before it, and after it the first time: then Pub/Sub
# pushes to it.
#
#   04-StreamFeatures/deploy_score_stream.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

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
  deploy_service score_stream "${choices[@]}"
fi
