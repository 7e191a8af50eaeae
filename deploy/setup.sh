#!/usr/bin/env bash
# Create or update everything that the functions need. Also removes what an earlier run
# created and the settings no longer name.
#
#   deploy/setup.sh [--dry-run] [--yes] [--deployment FILE]
#   deploy/setup.sh [--dry-run] --plan=FOLDER           keep the plan there; without --dry-run, do as it says
#   deploy/setup.sh --dry-run --plan=FOLDER --images-from=FILE
#                                                       also keep which images that deployment runs
#   deploy/setup.sh --only-callers                      refuse all but who may call and what is pushed to
#   deploy/setup.sh --remove                            also remove what the folder no longer has
#   deploy/setup.sh --drop-columns                      also delete columns
set -euo pipefail
takes="--yes --only-callers --remove --drop-columns"
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/terraform.sh"

[[ -z "$images_from" || -n "$dry_run" && -n "$plan" ]] || { echo "deploy: --images-from needs --dry-run --plan=FOLDER" >&2 && exit 2; }
enable_first
grant_keys
values >&2
if [[ -n "$unseen" ]]; then
  make_state_bucket
elif [[ -z "$dry_run" ]]; then
  state_bucket_is_there >/dev/null || make_state_bucket
fi
prepare
if [[ -n "$dry_run" ]]; then
  plan
  [[ -z "$unseen" ]] || tf apply "$plans/plan"
  [[ -z "$images_from" ]] || keep_images
  echo "# docs/resources.md lists every resource, permission and alert of a deployment" >&2
  exit 0
fi
apply_patiently
[[ "$options" != *" --only-callers "* ]] || exit 0
date +%s >"$root/$work/granted"
prune

# Says what reading the export will cost. Events without a consent that is asked for by now
# go at once. `make setup-deploy` installs no packages for it; the operators' job has them.
export PROPENSITY_DEPLOYMENT="$deployment"
[[ -n "$exports" ]] || exit 0
if [[ -e "$root/.venv/.set-up" ]]; then
  "$python" -m commands deployment digest >&2 || echo "deploy: the digest of the export was left as it is. Run '.venv/bin/propensity deployment digest', or leave it to the next run" >&2
else
  echo "deploy: 'deploy/operate.sh deployment digest' says what reading the export will cost; runs wait for your --yes if it is much" >&2
fi
