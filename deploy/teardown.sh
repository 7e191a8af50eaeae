#!/usr/bin/env bash
# Remove everything that the other scripts created. Asks first; keeps data (dataset,
# bucket, secrets, topics with waiting messages, log bucket) unless you pass --delete-data.
#
#   deploy/teardown.sh --dry-run
#   deploy/teardown.sh [--delete-data] [--yes] [--deployment FILE]
set -euo pipefail
takes="--delete-data --yes" runs=deploy/teardown.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/terraform.sh"

data="kept" deletes="" keeps=(-var=keep_only_data=true)
if [[ "$options" == *" --delete-data "* ]]; then
  data="DELETED, with all that is in it" deletes=yes
  keeps+=(-var=delete_data=true)
fi
require_state
values >/dev/null
destroy() { tf destroy -auto-approve "${keeps[@]}"; }
if [[ -n "$dry_run" ]]; then
  echo "# removes schedules, functions, alerts, accounts and their rights; data: $data"
  plan
  if [[ -n "$unseen" ]]; then
    tf apply "$plans/plan"
    [[ -z "$deletes" ]] || destroy
  fi
  exit 0
fi
echo "Everything of '$prefix' in project $project is going to be removed; data: $data."
if [[ "$options" != *" --yes "* ]]; then
  read -r -p "Type the project's name, $project, to go on: " answer || answer=""
  [[ "$answer" == "$project" ]] || { echo "nothing was removed" && exit 1; }
fi
options+="--yes --drop-columns "
# Rights, accounts and roles go; the protection of the data, too, if they are to go.
apply
schedules="" services="" jobs=""
prune
if [[ -n "$deletes" ]]; then
  destroy && rm -rf "$work"
  echo "removed, data and all; the state's bucket, gs://$state_bucket, stays"
fi
