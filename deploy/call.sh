#!/usr/bin/env bash
# Send one request to a scheduled function by hand: Cloud Scheduler sends it, which needs
# neither a machine in the project's network nor a token. Waits for the function's line
# in the log and shows it; exits with 0 if the run succeeded.
#
#   deploy/call.sh FUNCTION [REQUEST] [--hang-up] [--dry-run] [--deployment FILE]
#   deploy/call.sh predictions '{"use_case": "ga4_purchase", "force": true}'
#   deploy/call.sh model_training '{"as_of": "2026-02-01"}'
#   deploy/call.sh compact_features
# With --hang-up the scheduler hangs up after 15 seconds, and the run may go on.
set -euo pipefail
takes="--hang-up" function="" request="{}"
[[ "${1:--}" == -* ]] || { function="$1" && shift; }
[[ "${1:--}" == -* ]] || { request="$1" && shift; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case "$function" in
model_training | predictions | model_evaluation | audiences | compact_features | overview) ;;
*)
  echo "$0: FUNCTION is '$function'. Use model_training, predictions, model_evaluation, audiences, compact_features or overview" >&2
  exit 2
  ;;
esac
about="$("$python" -c 'import json, sys; print(json.loads(sys.argv[1]).get("use_case", ""))' "$request" 2>/dev/null)" || {
  echo "$0: REQUEST is '$request', which is not a JSON object. Example: '{\"force\": true}'" >&2
  exit 2
}
# Another use case may run meanwhile. The line of a request that was not understood names none.
[[ -z "$about" ]] || about=" AND NOT (jsonPayload.use_case:* AND NOT jsonPayload.use_case=\"$about\")"
deploys "$function" || exit 1
# One for each request: two may be under way at once. deploy/setup.sh deletes one that is
# over an hour old, whose script was killed.
job="$prefix-by-hand-$(date +%s)-$$"
here=(--location="$region" --project="$project")
url="$(url_of "$function")"
since="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
lines="timestamp>=\"$since\" AND ((resource.labels.service_name=\"$prefix-${function//_/-}\" AND jsonPayload.outcome:*$about)"
deadline=1800s
if [[ "$options" == *" --hang-up "* ]]; then
  # The scheduler's own line comes first then, and says so.
  deadline=15s
  lines+=")"
else
  lines+=" OR (resource.type=\"cloud_scheduler_job\" AND resource.labels.job_id=\"$job\" AND severity>=ERROR))"
fi
shown='value(timestamp, jsonPayload.outcome, jsonPayload.message, httpRequest.status, jsonPayload.debugInfo)'

remove() { run gcloud scheduler jobs delete "$job" "${here[@]}" --quiet; }
# It would be called again in a leap year.
run gcloud scheduler jobs create http "$job" \
  --schedule="0 0 29 2 *" --uri="$url/" --http-method=POST --message-body="$request" \
  --headers=Content-Type=application/json \
  --oidc-service-account-email="$account_scheduler" --oidc-token-audience="$url" \
  --attempt-deadline="$deadline" --max-retry-attempts=0 "${here[@]}"
trap remove EXIT
run gcloud scheduler jobs run "$job" "${here[@]}"
echo "# waiting for the function's line in the log, for half an hour at most" >&2

line="" ends=$((SECONDS + 1860))
while [[ -z "$line" && $SECONDS -lt $ends ]]; do
  line="$(run gcloud logging read "$lines" --project="$project" --order=asc --limit=1 --format="$shown")"
  [[ -n "$line" ]] || sleep 10
done
echo "${line:-"deploy: the log has no line after half an hour; the run may still be under way"}"
[[ -n "$dry_run" || "$line" == *$'\tok\t'* ]]
