#!/usr/bin/env bash
# Deploy a function as deploy/functions.toml describes it; with the training also the job
# in which deploy/operate.sh runs commands. deploy/setup.sh comes before it, and after it
# the first time: then it lets in who may call.
#
#   deploy/function.sh FUNCTION [--rebuild] [--dry-run] [--deployment FILE]
set -euo pipefail
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

# Print the flag that sets a value, or takes it away.
flag() { if [[ -n "$2" ]]; then echo "--$1=$2"; else echo "--clear-$1"; fi; }
# What all functions have in common. Calling one needs the invoker's role.
common=(
  --project="$project" --region="$region" --no-allow-unauthenticated
  "$(flag vpc-connector "$vpc_connector")" "$(flag key "$functions_kms_key")"
)
[[ -z "$vpc_connector" ]] || common+=(--vpc-egress="$vpc_egress")
# And how they are built.
build=(
  --base-image="python$(tr -d '.\n' <deploy/python-version)" --image="$repository"
  --build-service-account="projects/$project/serviceAccounts/$account_build"
  "$(flag build-worker-pool "$worker_pool")"
)
# Cloud Build's own disk has Google's key, which gcloud wants to be told.
[[ -z "$functions_kms_key" ]] || build+=(--allow-unencrypted-build)
index=--clear-build-env-vars
[[ -z "$package_index" ]] || index="--set-build-env-vars=PIP_INDEX_URL=$package_index"
build+=("$index")

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
  for word in $image "${service[@]}"; do
    # These two are about a build.
    [[ "$word" == --function=* || "$word" == --no-automatic-updates ]] || words+=("$word")
  done
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
