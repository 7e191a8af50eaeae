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
#   deploy/setup.sh [--postcodes=FILE] [--with-model]   also load postcodes, the shipped model
set -euo pipefail
takes="--yes --images-from= --only-callers --remove --drop-columns --postcodes= --with-model"
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/terraform.sh"

images_from="${given_images_from:-}"
[[ -z "$images_from" || "$images_from" == /* ]] || images_from="$started/$images_from"
[[ -z "$images_from" || -n "$dry_run" && -n "$plan" ]] || { echo "deploy: --images-from needs --dry-run --plan=FOLDER" >&2 && exit 2; }
postcodes="${given_postcodes:-}"
if [[ -n "$postcodes" ]]; then
  [[ "$postcodes" == /* ]] || postcodes="$started/$postcodes"
  [[ -f "$postcodes" ]] || { echo "deploy: --postcodes: there is no file $postcodes" >&2 && exit 1; }
fi
require_gcloud
# Before anything is changed: the deploy that follows would be refused.
[[ -n "$dry_run" || ! -f "$plan/images.json" ]] ||
  "$python" -m deploy images --deployment "$deployment" --json "$plan/images.json" >/dev/null
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
grant_sources
prune

# What the functions start with.
export PROPENSITY_DEPLOYMENT="$deployment"
[[ -z "$postcodes" ]] || "$python" -m commands load postcodes "$postcodes"
[[ "$options" != *" --with-model "* ]] || "$python" -m commands load model

# Says what reading the export will cost. Events without a consent that is asked for by now
# go at once.
[[ -z "$exports" ]] || "$python" -m commands deployment digest >&2 || echo "deploy: the digest of the export was left as it is. Run '.venv/bin/propensity deployment digest', or leave it to the next run" >&2

[[ " $functions " != *" compact_features "* ]] || cat <<END
run_missed_compact_features notices an absence only after a compaction has run since the
policy was made or changed. To have it look at once, when the functions are deployed:
  gcloud scheduler jobs run $prefix-compact-features --location=$region --project=$project
END
