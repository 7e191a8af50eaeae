# shellcheck shell=bash
# Sourced by setup.sh and teardown.sh: applies a root of deploy/terraform with Terraform,
# or OpenTofu where that is what there is. A root is `main` or `watch`; each has a state
# of its own in the bucket.

by=terraform
command -v terraform >/dev/null || by=tofu
# A plan asks Google what there is. Without a login a dry run prints the commands alone.
blind=""
if [[ -n "$dry_run" ]] && ! gcloud auth print-access-token >/dev/null 2>&1; then
  blind=yes by=terraform
  echo "# You are not logged in (gcloud auth login), so this cannot compare with what" >&2
  echo "# exists. ${runs:-A first run of deploy/setup.sh} would run these commands:" >&2
elif ! command -v "$by" >/dev/null; then
  echo "deploy: there is no terraform or tofu on PATH: docs/deploy.md" >&2
  exit 1
fi
# The lock has the provider of Terraform's registry. OpenTofu has another registry.
lock=()
[[ "$by" == tofu ]] || lock=(-lockfile=readonly)
export TF_INPUT=0 TF_IN_AUTOMATION=1

# What is deployed, as the last set-up has written it down.
record="gs://$state_bucket/$prefix/deployed.json"

# Where plans are, and whether a kept one is done as it is.
plans="$root/$work" as_planned=""
if [[ -n "$plan" ]]; then
  [[ -z "$blind" ]] || { echo "deploy: to keep a plan, log in: gcloud auth login" >&2 && exit 1; }
  plans="$plan" as_planned=yes
  if [[ -n "$dry_run" ]]; then
    mkdir -p "$plans" && as_planned=""
  elif [[ ! -f "$plans/main.plan" || ! -f "$plans/watch.plan" ]]; then
    echo "deploy: $plans has no plan: deploy/setup.sh --dry-run --plan=FOLDER keeps one" >&2 && exit 1
  fi
fi

# Where a plan is made while there is no bucket for the state.
from=deploy/terraform
folder_of() { if [[ "$1" == main ]]; then echo "$from"; else echo "$from/$1"; fi; }

# Run a command, or print it where no account is logged in.
ask() { if [[ -n "$blind" ]]; then run "$@"; else "$@"; fi; }

# Ask Terraform or OpenTofu: the root, then its words.
tf() {
  ask env TF_DATA_DIR="$root/$work/$1.terraform" "$by" -chdir="$(folder_of "$1")" "${@:2}"
}

# Refuse an older gcloud than the one whose parser takes every command of the scripts.
lowest_gcloud=528.0.0
require_gcloud() {
  [[ -z "$blind" ]] || return 0
  local there
  command -v gcloud >/dev/null || { echo "deploy: there is no gcloud on PATH: docs/deploy.md, What you need" >&2 && exit 1; }
  there="$(gcloud version --format='value("Google Cloud SDK")')"
  [[ -z "$there" || "$(printf '%s\n' "$lowest_gcloud" "$there" | sort -V | head -1)" == "$lowest_gcloud" ]] || {
    echo "deploy: gcloud is $there, and $lowest_gcloud is needed: gcloud components update, or, where apt installed it, apt-get install --only-upgrade google-cloud-cli" >&2
    exit 1
  }
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

# Let the functions read sources in other projects, or say what their owners run.
grant_sources() {
  [[ -n "${source_grants:-}" ]] || return 0
  bq --project_id="$project" --location="$location" query --use_legacy_sql=false \
    "$source_grants" >&2 || cat >&2 <<END
deploy: the functions cannot read sources in another project yet. Their owner runs there:
  $source_grants
END
}

# Write what both roots read: values of variables, and what the code and your use cases
# say. Prints which services run an older revision than their latest, and which audiences
# are sent on days without predictions.
values() {
  mkdir -p "$work"
  # Without this list all callers would look foreign: only a plan does without.
  if [[ -n "$blind" ]]; then
    echo '[]' >"$work/services.json"
  elif ! gcloud run services list --project="$project" --region="$region" --format=json --quiet \
    --filter="metadata.name~^$prefix-" >"$work/services.json"; then
    [[ -n "$dry_run" ]] || exit 1
    echo "deploy: planned as if no function was deployed yet" >&2
    echo '[]' >"$work/services.json"
  fi
  "$python" -m deploy variables --deployment "$deployment" --json "$work/services.json"
}

# Fetch what the last set-up has written down; nothing before the first.
fetch_deployed() {
  local answer
  mkdir -p "$work"
  if answer="$(gcloud storage cat "$record" --project="$project" 2>&1 >"$work/deployed.new")"; then
    mv "$work/deployed.new" "$work/deployed.json"
  elif [[ "$answer" == *404* || "$answer" == *"matched no objects"* ]]; then
    rm -f "$work/deployed.json"
  else
    echo "$answer" >&2 && exit 1
  fi
}
# Write down what is deployed from now on.
keep_deployed() {
  "$python" -m deploy describe --deployment "$deployment" >"$work/deployed.json"
  gcloud storage cp "$work/deployed.json" "$record" --project="$project" --quiet
}

# Say that there is nothing, and stop: what goes on would make something, or find nothing.
nothing_there() {
  echo "deploy: gs://$state_bucket has nothing of '$prefix' in project $project: nothing has been set up, or" \
    "GOOGLE_CLOUD_PROJECT, PROPENSITY_BUCKET, DEPLOY_STATE_BUCKET or DEPLOY_PREFIX is another" >&2
  exit 1
}
require_state() {
  prepare main
  [[ -n "$blind" || -n "$(tf main state list 2>/dev/null)" ]] || nothing_there
}

# The state's bucket, and the root's place in it. Only a set-up makes the bucket.
makes_state=""
prepare() {
  local answer
  if [[ -n "$blind" ]]; then
    [[ "$1" == watch || -z "$makes_state" ]] || make_state_bucket
  elif ! answer="$(gcloud storage buckets describe "gs://$state_bucket" --format='value(name)' 2>&1)"; then
    if [[ -n "$dry_run" || -z "$makes_state" ]]; then
      [[ "$answer" == *404* ]] || { echo "$answer" >&2 && exit 1; }
      without_state "$1"
      return
    fi
    make_state_bucket
  fi
  tf "$1" init ${lock[@]+"${lock[@]}"} -reconfigure -backend-config="bucket=$state_bucket" -backend-config="prefix=$prefix/$1"
}
make_state_bucket() {
  run gcloud storage buckets create "gs://$state_bucket" --project="$project" \
    --location="$location" --uniform-bucket-level-access --public-access-prevention \
    ${kms_key:+--default-encryption-key="$kms_key"}
  run gcloud storage buckets update "gs://$state_bucket" --versioning
}

# Before a first set-up nothing keeps a state: plan in a copy that names no bucket.
without_state() {
  [[ -n "$makes_state" ]] || nothing_there
  [[ -z "$plan" ]] || { echo "deploy: the first set-up makes the state's bucket: run it without --plan" >&2 && exit 1; }
  echo "# there is no gs://$state_bucket yet: all is new" >&2
  if [[ "$from" == deploy/terraform ]]; then
    rm -rf "$work/first" && cp -r "$from" "$work/first"
    printf 'terraform {\n  backend "local" {}\n}\n' | tee "$work"/first/{.,watch}/backend_override.tf >/dev/null
    from="$work/first"
  fi
  tf "$1" init ${lock[@]+"${lock[@]}"} -reconfigure
}

# Say what would be changed, and change nothing.
preview() {
  if [[ -n "$blind" ]]; then
    apply "$1"
    return
  fi
  prepare "$1"
  plan "$1"
}

# Plan, show the plan and keep it; stop where it would take columns of tables away.
plan() {
  local file="$plans/$1.plan" may=()
  # A dry run only reads, the lock as well; a plan that is old by then is not applied.
  tf "$1" plan -out="$file" ${dry_run:+-lock=false} -var-file="$root/$work/$1.tfvars" || return
  [[ "$1" == main && -z "$blind" && -z "${deletes:-}" ]] || return 0
  tf "$1" show -json "$file" >"$file.json" || return
  [[ "$options" != *" --drop-columns "* ]] || may+=(--drop-columns)
  [[ "$options" != *" --only-callers "* ]] || may+=(--only-callers)
  "$python" -m deploy losses --deployment "$deployment" --json "$file.json" ${may[@]+"${may[@]}"}
}

# Keep beside the plan, and show, which images the deployment of --images-from runs; stop
# where one was built of something else than what would be staged here.
keep_images() {
  local names listing="$root/$work/services-tested.json"
  names="$("$python" -m deploy shell --planned --deployment "$images_from")"
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
  prepare "$1" || return
  [[ -n "$as_planned" ]] || plan "$1" || return
  if [[ -z "$dry_run$as_planned" && "$options" != *" --yes "* ]]; then
    read -r -p "Type yes to do what this plan says: " answer || answer=""
  fi
  [[ "$answer" == yes ]] || { echo "nothing was changed" >&2 && return 1; }
  tf "$1" apply "$plans/$1.plan"
}

# Apply, and say what to do about what is refused. What was made a moment ago may not be
# known everywhere: that is tried once more, and only what is missing is made then.
apply_patiently() {
  local refusal="$root/$work/refusal" pause=$((patience_s < 60 ? patience_s : 60)) status=0
  { apply "$1" 2>&1 1>&3 3>&- | tee "$refusal" >&2 3>&-; } 3>&1 || status=$?
  if [[ $status != 0 ]] && grep -qE "$not_known_yet" "$refusal"; then
    echo "deploy: something that was just made is not known everywhere yet; once more in $pause s" >&2
    sleep "$pause" && status=0
    { apply "$1" 2>&1 1>&3 3>&- | tee "$refusal" >&2 3>&-; } 3>&1 || status=$?
  fi
  if [[ $status != 0 ]] && grep -qiE 'Error 409|already exists' "$refusal"; then
    cat >&2 <<END
deploy: what "already exists" is in no state of this deployment, and is left as it is.
  Set another DEPLOY_PREFIX and another PROPENSITY_BUCKET, or remove it first.
END
  fi
  if [[ $status != 0 ]] && grep -q 'Error acquiring the state lock' "$refusal"; then
    echo "deploy: another set-up is at work. If none is, one was killed: deploy/setup.sh --unlock=ID, with the ID above" >&2
  fi
  return "$status"
}
# As Google's APIs say so of accounts, roles, APIs, and rights to use a key.
not_known_yet="(Service account|Role) .*does not exist|has not been used in project|CryptoKey|cloudkms"

destroy() {
  prepare "$1"
  tf "$1" destroy -auto-approve -var-file="$root/$work/$1.tfvars"
}

# Keep what the scripts read: names of what there is.
keep_outputs() {
  mkdir -p "$work"
  tf main output -json scripts >"$work/outputs.new"
  mv "$work/outputs.new" "$work/outputs.json"
  read_names ${dry_run:+--planned}
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
