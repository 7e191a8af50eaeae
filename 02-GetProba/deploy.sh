#!/usr/bin/env bash
# Deploy the lookup of 02-GetProba; deploy_score.sh deploys the scores. deploy/setup.sh
# comes before it, and after it the first time: then it lets in DEPLOY_CALLERS.
#
#   02-GetProba/deploy.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=get_proba
  --memory=1Gi              # indexes of 8 million users, of all use cases, twice
  --cpu=1                   # one event loop
  --concurrency=200         # they wait for BigQuery together
  --timeout=30              # no caller waits longer for an answer
  --min-instances=0         # 1 spares the first caller a cold start, and costs
  --max-instances=20        # bounds what a flood of lookups costs
  --cpu-throttling          # between requests no processor is paid for
  --ingress="$ingress"      # all, or what DEPLOY_INGRESS says
  --service-account="$account_get_proba"
  --set-env-vars="$environment"
  "$secret"
)
if deploys get_proba; then
  stage get_proba
  deploy_service get_proba "${choices[@]}"
fi
