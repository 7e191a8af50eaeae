#!/usr/bin/env bash
# Run a command of propensity in the deployment's own job, under the operators' account:
# on this machine it needs gcloud, the deployment's folder and `make setup-deploy`. Waits for
# it, prints its answer, and exits with its exit code. Options before COMMAND are this script's.
#
#   deploy/operate.sh [--dry-run] [--deployment FILE] COMMAND [WORD]...
#   deploy/operate.sh audience send winback
#   deploy/operate.sh rollback --use-case ga4_purchase
#   deploy/operate.sh forget - < ids.txt
set -euo pipefail
options_here=()
while [[ "${1:-}" == -* ]]; do
  options_here+=("$1")
  [[ "$1" != --deployment || $# == 1 ]] || { shift && options_here+=("$1"); }
  shift
done
command=("$@")
set -- ${options_here[@]+"${options_here[@]}"}
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

refuse() { echo "$0: $1" >&2 && exit 2; }
# A job's words stay in its record, and in the audit log: a mistyped command may be followed
# by users. What else the job cannot run, 00-ModelTraining/operate.py refuses.
case "${command[0]:-}" in
versions | promote | rollback | pin | dashboard | doctor | forget | dead-letters | audience | deployment) ;;
*) refuse "COMMAND is '${command[0]:-}'. Use versions, promote, rollback, pin, dashboard, doctor, forget, dead-letters, audience or deployment digest" ;;
esac
[[ "${command[*]}" != *"|"* ]] || refuse "a word contains '|', which no command takes"
if [[ "${command[0]:-}" == forget ]]; then
  for word in "${command[@]:1}"; do
    [[ "$word" == -* ]] || refuse "'forget' reads users from standard input here, because a job's record keeps its words, and takes --use-case=NAME in one word. Example: deploy/operate.sh forget - < ids.txt"
  done
fi
deploys model_training || exit 1

input="-"
if [[ " ${command[*]} " == *" - "* ]]; then
  # Nobody can guess its name, and the job takes these very bytes.
  users="$(mktemp)" && trap 'rm -f "$users"' EXIT
  cat >"$users"
  hash="$(sha256sum "$users" 2>/dev/null || shasum -a 256 "$users")"
  input="operate/$("$python" -c 'import secrets; print(secrets.token_hex(8))')-${hash%% *}"
  run gcloud storage cp "$users" "gs://$bucket/$input" --project="$project"
fi
here=(--region="$region" --project="$project")
since="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
# In one word, because gcloud refuses the same word twice.
listed="$("$python" -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "${command[@]}")"
execution="$(run gcloud run jobs execute "$prefix-operator" --async \
  --args="^|^--|python3|operate.py|$input|$listed" --format='value(metadata.name)' "${here[@]}")"
if [[ -n "$dry_run" ]]; then
  echo "$execution"
  exit 0
fi
echo "# $execution has begun, and continues if you stop waiting. To stop it:" \
  "gcloud run jobs executions cancel $execution --region=$region --project=$project" >&2

lines="timestamp>=\"$since\" AND resource.type=\"cloud_run_job\" AND jsonPayload.function=\"operate\""
lines+=" AND labels.\"run.googleapis.com/execution_name\"=\"$execution\""
line="" tries=12
while [[ "$line" != *exit_code* && $tries -gt 0 ]]; do
  sleep 5
  ended="$(run gcloud run jobs executions describe "$execution" --format='value(status.completionTime)' "${here[@]}")"
  # Its line reaches the log some seconds after its end.
  if [[ -n "$ended" ]]; then
    tries=$((tries - 1))
    line="$(run gcloud logging read "$lines" --project="$project" --limit=1 --format='json(jsonPayload)')"
  fi
done
if [[ "$line" != *exit_code* ]]; then
  echo "deploy: $execution ended without an answer: it was killed or cancelled. See" \
    "gcloud run jobs executions describe $execution --region=$region --project=$project" >&2
  exit 1
fi
"$python" -c '
import json, sys
[entry] = json.load(sys.stdin)
said = entry["jsonPayload"]
sys.stderr.write(said["notes"])
sys.stdout.write(said["message"])
sys.exit(int(said["exit_code"]))
' <<<"$line"
