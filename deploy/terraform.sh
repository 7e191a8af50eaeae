# shellcheck shell=bash
# Sourced by setup.sh and teardown.sh: applies deploy/terraform with Terraform, or OpenTofu
# where that is what there is. Its state is in a bucket of its own.

state_bucket_is_there() {
  gcloud storage buckets describe "gs://$state_bucket" --format='value(name)' 2>&1
}
by=terraform
command -v terraform >/dev/null || by=tofu
# The lock has the provider of Terraform's registry. OpenTofu has another registry.
lock=()
[[ "$by" == tofu ]] || lock=(-lockfile=readonly)
export TF_INPUT=0 TF_IN_AUTOMATION=1

# A dry run compares with what there is. Without a login, or before the first set-up, it
# can only print the commands.
unseen=""
if [[ -n "$dry_run" ]] && ! answer="$(state_bucket_is_there)"; then
  [[ -z "$plan" ]] || { echo "deploy: no plan can be kept: $answer" >&2 && exit 1; }
  unseen=yes
  echo "# This cannot compare with what exists: $answer" >&2
  echo "# ${runs:-A first run of deploy/setup.sh} would run these commands:" >&2
elif ! command -v "$by" >/dev/null; then
  echo "deploy: there is no terraform or tofu on PATH: docs/deploy.md" >&2
  exit 1
fi

# Where the plan is, and whether a kept one is done as it is.
plans="$root/$work" as_planned=""
if [[ -n "$plan" ]]; then
  plans="$plan" as_planned=yes
  if [[ -n "$dry_run" ]]; then
    mkdir -p "$plans" && as_planned=""
  elif [[ ! -f "$plans/plan" ]]; then
    echo "deploy: $plans has no plan: deploy/setup.sh --dry-run --plan=FOLDER keeps one" >&2 && exit 1
  fi
fi

# Ask Terraform or OpenTofu; only print that where nothing is known.
tf() {
  local words=(env TF_DATA_DIR="$root/$work/terraform" "$by" -chdir=deploy/terraform "$@")
  if [[ -n "$unseen" ]]; then run "${words[@]}"; else "${words[@]}"; fi
}

# Enable what a plan itself calls, and a project does not begin with. An API's own
# account is given rights, and is not there just because the API is enabled.
enable_first() {
  local one apis=(cloudresourcemanager iam run pubsub) accounts=(pubsub)
  [[ -z "$kms_key$functions_kms_key" ]] || apis+=(bigquery cloudkms logging storage)
  if [[ -n "$functions_kms_key" ]]; then
    apis+=(artifactregistry secretmanager) accounts+=(artifactregistry run secretmanager)
  fi
  run gcloud services enable "${apis[@]/%/.googleapis.com}" --project="$project"
  for one in "${accounts[@]}"; do
    run gcloud beta services identity create --service="$one.googleapis.com" --project="$project"
  done
}

# Let Google's services use the keys, or say what the keys' owner runs. They may from then
# on, also after a teardown: without that nobody could read what is kept.
grant_keys() {
  local number=PROJECT_NUMBER agents=iam.gserviceaccount.com logs=cmek-pPROJECT_NUMBER
  [[ -n "$kms_key$functions_kms_key" ]] || return 0
  if [[ -z "$dry_run" ]]; then
    number="$(gcloud projects describe "$project" --format='value(projectNumber)')"
    logs="$(gcloud logging settings describe --project="$project" --format='value(kmsServiceAccountId)')"
    # These two are there once somebody has asked for them.
    gcloud storage service-agent --project="$project" >/dev/null
    bq --project_id="$project" show --encryption_service_account >/dev/null
  fi
  let_use "$kms_key" "bq-$number@bigquery-encryption" "service-$number@gs-project-accounts" \
    "service-$number@gcp-sa-pubsub"
  let_use "$functions_kms_key" "service-$number@serverless-robot-prod" \
    "service-$number@gcp-sa-artifactregistry" "service-$number@gcp-sa-secretmanager" "${logs%%@*}@gcp-sa-logging"
}
let_use() {
  local agent words
  [[ -n "$1" ]] || return 0
  for agent in "${@:2}"; do
    words=(gcloud kms keys add-iam-policy-binding "$1" --member="serviceAccount:$agent.$agents"
      --role=roles/cloudkms.cryptoKeyEncrypterDecrypter --format=none --quiet)
    if [[ -n "$dry_run" ]]; then
      run "${words[@]}"
    elif "${words[@]}" 2>/dev/null; then
      # What uses the key waits until the grant is known everywhere.
      mkdir -p "$work" && date +%s >"$work/granted"
    else
      echo "deploy: you may not grant the use of a key. Unless that is done, its owner runs:" >&2
      printf '%q ' "${words[@]}" >&2 && echo >&2
    fi
  done
}

# Write what Terraform reads: values of variables, and what the code and your use cases
# say. Prints which audiences are sent on days without predictions.
values() {
  mkdir -p "$work"
  echo '[]' >"$work/services.json"
  # Without this list all callers would look foreign.
  [[ -n "$unseen" ]] || gcloud run services list --project="$project" --region="$region" \
    --format=json --quiet --filter="metadata.name~^$prefix-" >"$work/services.json"
  "$python" -m deploy variables --deployment "$deployment" --json "$work/services.json"
}

make_state_bucket() {
  run gcloud storage buckets create "gs://$state_bucket" --project="$project" \
    --location="$location" --uniform-bucket-level-access --public-access-prevention \
    ${kms_key:+--default-encryption-key="$kms_key"}
  run gcloud storage buckets update "gs://$state_bucket" --versioning
}

# Begin with the state of this deployment.
prepare() {
  tf init ${lock[@]+"${lock[@]}"} -reconfigure -backend-config="bucket=$state_bucket" -backend-config="prefix=$prefix"
}

# Stop where nothing was set up: what follows would make something, or find nothing.
require_state() {
  local answer
  if [[ -n "$unseen" ]]; then prepare && return; fi
  if answer="$(state_bucket_is_there)"; then
    prepare >&2
    [[ -z "$(tf state list 2>/dev/null)" ]] || return 0
  elif [[ "$answer" != *404* ]]; then
    echo "$answer" >&2 && exit 1
  fi
  echo "deploy: gs://$state_bucket has nothing of '$prefix' in project $project: nothing has been set up, or" \
    "GOOGLE_CLOUD_PROJECT, PROPENSITY_BUCKET, DEPLOY_STATE_BUCKET or DEPLOY_PREFIX is another" >&2
  exit 1
}

# Plan, show the plan and keep it; stop where it would take away what nobody agreed to.
plan() {
  local word may=()
  # A dry run only reads, the lock as well; a plan that is old by then is not applied.
  tf plan -out="$plans/plan" ${dry_run:+-lock=false} ${keeps[@]+"${keeps[@]}"} || return
  [[ -z "$unseen" && -z "${deletes:-}" ]] || return 0
  tf show -json "$plans/plan" >"$plans/plan.json" || return
  for word in --drop-columns --only-callers --remove; do
    [[ "$options" != *" $word "* ]] || may+=("$word")
  done
  "$python" -m deploy losses --deployment "$deployment" --json "$plans/plan.json" ${may[@]+"${may[@]}"}
}

# Keep beside the plan, and show, which images the deployment of --images-from runs; stop
# where one was built of something else than what would be staged here.
keep_images() {
  local names listing="$root/$work/services-tested.json"
  names="$("$python" -m deploy shell --deployment "$images_from")"
  (
    eval "$names"
    gcloud run services list --project="$project" --region="$region" \
      --filter="metadata.name~^$prefix-" --format=json --quiet >"$listing"
    "$python" -m deploy images --deployment "$deployment" --json "$listing" \
      --repository="$repository" --images-from="$images_from" | tee "$plans/images.json"
  )
}

# Change what differs: what the plan shows. Asks, unless --yes is given.
apply() {
  local answer=yes
  [[ -n "$as_planned" ]] || plan || return
  if [[ -z "$as_planned" && "$options" != *" --yes "* ]]; then
    read -r -p "Type yes to do what this plan says: " answer || answer=""
  fi
  [[ "$answer" == yes ]] || { echo "nothing was changed" >&2 && return 1; }
  tf apply "$plans/plan"
}

# As Google's APIs say of accounts, roles, APIs, rights to use a key, and a metric of the
# log that they were made a moment ago.
not_known_yet="(Service account|Role) .*does not exist|has not been used in project|CryptoKey|cloudkms|find metric"

# Apply, and once more where something that was just made is not known everywhere yet,
# which takes a metric of the log ten minutes. Of a kept plan the rest is not applied.
apply_patiently() {
  local pause refusal="$root/$work/refusal"
  for pause in 60 180 360 0; do
    { apply 2>&1 1>&3 3>&- | tee "$refusal" >&2 3>&-; } 3>&1 && return
    if [[ $pause == 0 || -n "$as_planned" ]] || ! grep -qE "$not_known_yet" "$refusal"; then
      return 1
    fi
    echo "deploy: something that was just made is not known everywhere yet; once more in $pause s" >&2
    sleep "$pause"
  done
}

# Tell whether a schedule is called as one of ours: others have schedules, too.
is_ours() {
  local one
  for one in $every; do
    case "$1" in "$one" | "$one"-*) return ;; esac
  done
  return 1
}

# Tell whether deploy/call.sh made a schedule over an hour ago: it was killed before it
# could delete it.
is_left_by_hand() {
  [[ "$1" =~ ^"$prefix"-by-hand-([0-9]+)-[0-9]+$ ]] && ((BASH_REMATCH[1] < $(date +%s) - 3600))
}

# Delete the schedules, services and jobs that no function or use case has any more.
prune() {
  local name
  local here=(--project="$project" --region="$region")
  for name in $(gcloud scheduler jobs list --project="$project" --location="$region" \
    --filter="name~/jobs/$prefix-" --format='value(name.basename())'); do
    [[ " $schedules " == *" $name "* ]] || ! { is_ours "$name" || is_left_by_hand "$name"; } ||
      gcloud scheduler jobs delete "$name" --project="$project" --location="$region" --quiet
  done
  for name in $(gcloud run services list "${here[@]}" \
    --filter="metadata.name~^$prefix-" --format='value(metadata.name)'); do
    [[ " $services " == *" $name "* || " $every " != *" $name "* ]] ||
      gcloud run services delete "$name" "${here[@]}" --quiet
  done
  for name in $(gcloud run jobs list "${here[@]}" \
    --filter="metadata.name~^$prefix-(training-job-.*|operator)$" --format='value(metadata.name)'); do
    [[ " $jobs " == *" $name "* ]] || gcloud run jobs delete "$name" "${here[@]}" --quiet
  done
}
