#!/usr/bin/env bash
# Create or update everything that the functions need. Also removes what an earlier run
# created and the settings no longer name.
# Exits with 3 if everything is done except some alerts.
#
#   deploy/setup.sh [--dry-run] [--yes] [--deployment FILE]
#   deploy/setup.sh [--dry-run] --plan=FOLDER           keep the plan there; without --dry-run, do as it says
#   deploy/setup.sh --dry-run --plan=FOLDER --images-from=FILE
#                                                       also keep which images that deployment runs
#   deploy/setup.sh --only-callers                      refuse all but who may call and what is pushed to
#   deploy/setup.sh --remove                            also remove what the folder no longer has
#   deploy/setup.sh --drop-columns                      also delete columns
#   deploy/setup.sh [--postcodes=FILE] [--with-model]   also load postcodes, the shipped model
#   deploy/setup.sh --outputs                           only fetch the outputs that scripts read
#   deploy/setup.sh --unlock=ID                         only release the lock of a set-up that was killed
set -euo pipefail
before=yes takes="--yes --images-from= --only-callers --remove --drop-columns --postcodes= --with-model --outputs --unlock="
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$(dirname "${BASH_SOURCE[0]}")/terraform.sh"

if [[ "$options" == *" --outputs "* ]]; then
  require_state
  if [[ -n "$dry_run" ]]; then tf main output -json scripts; else fetch_deployed && keep_outputs; fi
  exit 0
fi
# Each root has a lock; the id is of one of them.
if [[ -n "${given_unlock:-}" ]]; then
  require_state
  tf main force-unlock -force "$given_unlock" && exit 0
  prepare watch
  tf watch force-unlock -force "$given_unlock"
  exit
fi
makes_state=yes
images_from="${given_images_from:-}"
[[ -z "$images_from" || "$images_from" == /* ]] || images_from="$started/$images_from"
[[ -z "$images_from" || -n "$dry_run" && -n "$plan" ]] || { echo "deploy: --images-from needs --dry-run --plan=FOLDER" >&2 && exit 2; }
postcodes="${given_postcodes:-}"
if [[ -n "$postcodes" ]]; then
  [[ "$postcodes" == /* ]] || postcodes="$started/$postcodes"
  [[ -f "$postcodes" ]] || { echo "deploy: --postcodes: there is no file $postcodes" >&2 && exit 1; }
fi
require_gcloud
if [[ -z "$blind" ]]; then
  fetch_deployed
  [[ ! -e "$work/deployed.json" || "$options" == *" --remove "* ]] || check_kept || [[ -n "$dry_run" ]]
fi
# Before anything is changed: the deploy that follows would be refused.
[[ -n "$dry_run" || ! -f "$plan/images.json" ]] ||
  "$python" -m deploy images --deployment "$deployment" --json "$plan/images.json" >/dev/null
enable_first
grant_keys
values >&2
if [[ -n "$dry_run" ]]; then
  preview main
  preview watch
  [[ -z "$images_from" ]] || keep_images
  echo "# docs/resources.md lists every resource, permission and alert of a deployment" >&2
  exit 0
fi
apply_patiently main
[[ "$options" != *" --only-callers "* ]] || { keep_outputs && exit 0; }
date +%s >"$root/$work/granted"
keep_deployed
keep_outputs
grant_sources
prune

# What the functions start with.
export PROPENSITY_DEPLOYMENT="$deployment"
[[ -z "$postcodes" ]] || "$python" -m commands load postcodes "$postcodes"
[[ "$options" != *" --with-model "* ]] || "$python" -m commands load model

# Says what reading the export will cost. Events without a consent that is asked for by now
# go at once.
[[ -z "$exports" ]] || "$python" -m commands deployment digest >&2 || echo "deploy: the digest of the export was left as it is. Run '.venv/bin/propensity deployment digest', or leave it to the next run" >&2

# What watches comes last, and nothing fails with it. A metric of the log that was just
# made can be watched after up to ten minutes.
for pause in 60 180 360 0; do
  if apply watch; then
    [[ " $functions " != *" compact_features "* ]] || cat <<END
run_missed_compact_features notices an absence only after a compaction has run since the
policy was made or changed. To have it look at once, when the functions are deployed:
  gcloud scheduler jobs run $prefix-compact-features --location=$region --project=$project
END
    exit 0
  fi
  # What is left of a kept plan is none that somebody has seen.
  [[ $pause != 0 && -z "$plan" ]] || break
  echo "deploy: the alerts could not be created yet; trying again in $pause s" >&2 && sleep "$pause"
done
echo "deploy: everything is set up except some alerts. Run deploy/setup.sh again in a few minutes" >&2
exit 3
