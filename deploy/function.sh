#!/usr/bin/env bash
# Deploy a function as deploy/functions.toml describes it; with the training also the job
# in which deploy/operate.sh runs commands. deploy/setup.sh comes before it, and after it
# the first time: then it lets in who may call.
#
#   deploy/function.sh FUNCTION [--rebuild] [--dry-run] [--deployment FILE]
set -euo pipefail
# Lists of gcloud's words, by deploy/flags.py, for example of predictions:
#   service   --function=predictions --memory=4Gi …    how it is deployed
#   taken     --memory=4Gi …                           the same, by an image that is there
#   common    --project=my-project --region=…          of all functions
#   build     --base-image=python311 --image=…         how it is built
target="${1:-}"
[[ $# == 0 ]] || shift
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

deploys "$target" || exit 0
name="$prefix-${target//_/-}"

mkdir -p "$work"
# Put together what is uploaded: main.py, its lock as requirements.txt, and the package.
code="$staged/$target" sources="SOURCES"
words=("$python" -m deploy stage --deployment "$deployment" --function="$target" --folder "$code")
# It prints what the content is known by.
if [[ -n "$dry_run" ]]; then run "${words[@]}"; else sources="$("${words[@]}")"; fi

# Print the flags by which gcloud takes an image that is there: that of the kept plan, or the
# one in which the function runs, if it was built of what was staged here.
image_flags() {
  local file="$root/$work/service.json" words=(--deployment "$deployment" --sources="$sources")
  [[ -z "$dry_run" && "$options" != *" --rebuild "* ]] || return 0
  if [[ -f "$plan/images.json" ]]; then
    "$python" -m deploy image "${words[@]}" --json "$plan/images.json" --function="$target"
  elif gcloud run services describe "$name" --format=json --project="$project" \
    --region="$region" >"$file" 2>/dev/null; then
    "$python" -m deploy image "${words[@]}" --json "$file" --repository="$repository"
  fi
}

# For a function with a key gcloud uploads no folder: it takes an archive in a bucket.
upload() {
  [[ -n "$functions_kms_key" ]] || return 0
  # Named as gcloud names its own, which it goes on with in that bucket without a key.
  code="gs://$bucket/services/$name/source.zip"
  run "$python" -m zipfile --create "$staged/$target.zip" "$staged/$target/."
  run gcloud storage cp "$staged/$target.zip" "$code" --project="$project"
}

# An image is taken as it is, so that another setting builds nothing.
image="$(image_flags)" words=()
if [[ -z "$image" ]]; then
  upload
  words=(--source="$code" "${service[@]}" "${build[@]}")
else
  # shellcheck disable=SC2206  # A word a flag.
  words=($image "${taken[@]}")
fi
if [[ -n "$image" && -f "$plan/images.json" ]]; then
  # Its repository deletes old images, but for those with such a tag: a new one each
  # time, because gcloud would delete an equal one first, which a writer may not.
  digest="${image%%$'\n'*}" digest="${digest#--image=}"
  run gcloud artifacts docker tags add "$digest" "${digest%@*}:released-$(date +%s)" --quiet
fi
run gcloud run deploy "$name" "${words[@]}" "${common[@]}" --quiet --update-labels="sources=$sources"
# An operator may have sent its requests to an older revision, which a deploy would not
# change.
run gcloud run services update-traffic "$name" --to-latest --project="$project" \
  --region="$region" --quiet
echo "# $name runs its latest revision"

if [[ "$target" == model_training ]]; then
  # Of the same image. What a person or deploy/operate.sh asks for takes the words' place.
  deploy_job "$prefix-operator" "$account_operator" "operate.py|-|[\"versions\"]" --memory=8Gi --cpu=2
fi
