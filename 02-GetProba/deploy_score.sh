#!/usr/bin/env bash
# Deploy score of 02-GetProba, which scores at once by a model: requirements of its own.
# deploy/setup.sh comes before it, and after it the first time: then it lets in
# DEPLOY_CALLERS.
#
#   02-GetProba/deploy_score.sh [--dry-run] [--deployment FILE]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../deploy/common.sh"

choices=(
  --function=score
  --memory=2Gi              # scikit-learn and a few versions of a model
  --cpu=2                   # one scores while the other answers
  --concurrency=80          # scoring takes a processor, waiting does not
  --timeout=60              # a thousand users at once, read from the stream
  --min-instances=0         # 1 spares the first caller a cold start, and costs
  --max-instances=10        # bounds what a flood costs; a new project has processors for no more
  --no-cpu-throttling       # it logs what it has scored behind its answers
  --ingress="$ingress"      # all, or what DEPLOY_INGRESS says
  --service-account="$account_score"
  --set-env-vars="$environment"
  "$secret"
)
if deploys score; then
  stage score requirements-score.txt
  deploy_service score "${choices[@]}"
fi
