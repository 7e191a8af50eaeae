# shellcheck shell=bash
# Sourced by setup.sh and teardown.sh: applies a root of deploy/terraform with whatever
# is there: terraform, OpenTofu, or Infrastructure Manager, which needs gcloud alone.
# A root is `main` or `watch`; each has a state of its own in the bucket.

by="$engine"
[[ -n "$by" ]] || for one in terraform tofu gcloud; do
  if command -v "$one" >/dev/null; then by="$one" && break; fi
done
export TF_INPUT=0 TF_IN_AUTOMATION=1
manager="projects/$project/locations/$region"
if [[ "$by" == gcloud && -z "$infra_account" && -z "$dry_run" ]]; then
  echo "deploy: Infrastructure Manager needs DEPLOY_INFRA_ACCOUNT: docs/deploy.md" >&2
  exit 1
fi

folder_of() { if [[ "$1" == main ]]; then echo deploy/terraform; else echo "deploy/terraform/$1"; fi; }

# Ask Terraform or OpenTofu: the root, then its words.
tf() {
  TF_DATA_DIR="$root/$work/$1.terraform" "$by" -chdir="$(folder_of "$1")" "${@:2}"
}

# Write the values of a root's variables; more options of `python -m deploy variables`.
values() {
  mkdir -p "$work"
  gcloud run services list --project="$project" --region="$region" --format=json \
    --filter="metadata.name~^$prefix-" >"$work/services.json" ||
    { [[ -n "$dry_run" ]] && echo '[]' >"$work/services.json"; }
  "$python" -m deploy variables "$1" --settings "$settings" \
    --services "$work/services.json" "${@:2}" >"$work/$1.tfvars"
}

# The state's bucket, and the root's place in it. Nobody starts a second state beside
# one that Infrastructure Manager keeps, or the other way round.
prepare() {
  local kept="gs://$state_bucket/$prefix/$1/default.tfstate"
  if [[ "$by" == gcloud ]]; then
    if gcloud storage ls "$kept" >/dev/null 2>&1; then
      echo "deploy: Terraform keeps the state of this, $kept: set DEPLOY_ENGINE=terraform" >&2
      exit 1
    fi
    return
  fi
  if gcloud infra-manager deployments describe "$manager/deployments/$prefix-$1" \
    --format='value(name)' >/dev/null 2>&1; then
    echo "deploy: Infrastructure Manager keeps the state of this: set DEPLOY_ENGINE=gcloud" >&2
    exit 1
  fi
  if [[ -z "$dry_run" ]] && ! gcloud storage buckets describe "gs://$state_bucket" >/dev/null 2>&1; then
    gcloud storage buckets create "gs://$state_bucket" --project="$project" \
      --location="$location" --uniform-bucket-level-access --public-access-prevention
    gcloud storage buckets update "gs://$state_bucket" --versioning
  fi
  tf "$1" init -reconfigure -backend-config="bucket=$state_bucket" -backend-config="prefix=$prefix/$1"
}

# Say what would be changed, and change nothing.
preview() {
  prepare "$1"
  if [[ "$by" == gcloud ]]; then
    local there name
    name="$manager/previews/$prefix-$1-$(date +%s)"
    there="$(gcloud infra-manager deployments describe "$manager/deployments/$prefix-$1" \
      --format='value(name)' 2>/dev/null || true)"
    gcloud infra-manager previews create "$name" ${there:+--deployment="$there"} \
      --service-account="projects/$project/serviceAccounts/$infra_account" \
      --local-source="$(folder_of "$1")" --inputs-file="$work/$1.tfvars"
    gcloud infra-manager previews export "$name" --file="$work/$1"
    echo "the plan, as JSON, is in $work/$1"
  else
    tf "$1" plan -var-file="$root/$work/$1.tfvars"
  fi
}

# Change what differs. Terraform shows what that is, and asks, unless told --yes.
apply() {
  prepare "$1"
  if [[ "$by" == gcloud ]]; then
    gcloud infra-manager deployments apply "$manager/deployments/$prefix-$1" \
      --service-account="projects/$project/serviceAccounts/$infra_account" \
      --local-source="$(folder_of "$1")" --inputs-file="$work/$1.tfvars" --quiet
  else
    local sure=(-input=true)
    [[ "$options" != *" --yes "* ]] || sure=(-auto-approve)
    tf "$1" apply "${sure[@]}" -var-file="$root/$work/$1.tfvars"
  fi
}

destroy() {
  prepare "$1"
  if [[ "$by" == gcloud ]]; then
    gcloud infra-manager deployments delete "$manager/deployments/$prefix-$1" --quiet
  else
    tf "$1" destroy -auto-approve -var-file="$root/$work/$1.tfvars"
  fi
}

# Keep what the scripts read: names of what there is.
keep_outputs() {
  mkdir -p "$work"
  if [[ "$by" == gcloud ]]; then
    local revision
    revision="$(gcloud infra-manager deployments describe "$manager/deployments/$prefix-main" \
      --format='value(latestRevision)')"
    gcloud infra-manager revisions describe "$revision" \
      --format='json(applyResults.outputs.scripts.value)' |
      "$python" -c 'import json, sys
print(json.dumps(json.load(sys.stdin)["applyResults"]["outputs"]["scripts"]))' >"$work/outputs.new"
  else
    tf main output -json scripts >"$work/outputs.new"
  fi
  mv "$work/outputs.new" "$work/outputs.json"
  read_names
}

# Delete the schedules, services and jobs that no function or use case has any more.
prune() {
  local name
  local here=(--project="$project" --region="$region")
  for name in $(gcloud scheduler jobs list --project="$project" --location="$region" \
    --filter="name~/jobs/$prefix-" --format='value(name.basename())'); do
    [[ " $schedules " == *" $name "* ]] ||
      gcloud scheduler jobs delete "$name" --project="$project" --location="$region" --quiet
  done
  for name in $(gcloud run services list "${here[@]}" \
    --filter="metadata.name~^$prefix-" --format='value(metadata.name)'); do
    [[ " $services " == *" $name "* ]] || gcloud run services delete "$name" "${here[@]}" --quiet
  done
  for name in $(gcloud run jobs list "${here[@]}" \
    --filter="metadata.name~^$prefix-training-job-" --format='value(metadata.name)'); do
    [[ " $training_jobs " == *" $name "* ]] || gcloud run jobs delete "$name" "${here[@]}" --quiet
  done
}
