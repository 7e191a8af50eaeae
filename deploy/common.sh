# shellcheck shell=bash
# Sourced by every script: reads its options and the deployment's settings file, and runs
# commands, or prints them with --dry-run. --plan=FOLDER does what deploy/setup.sh
# --dry-run --plan=FOLDER has kept there; --rebuild builds a function anew though nothing of
# it has changed, for what Google has mended beneath. A script names in `takes` what else it
# takes, such as --yes, and sets `target` to the function that it is about.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
deployment="${PROPENSITY_DEPLOYMENT:-}"
dry_run="" options=" " patience_s=600 started="$PWD" plan="" images_from=""
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

while [[ $# -gt 0 ]]; do
  case "$1" in
  --dry-run) dry_run=yes ;;
  --deployment) set -- "$1" "--deployment=${2:-}" "${@:3}" ;;
  --deployment=*) deployment="${1#*=}" ;;
  --plan=*)
    plan="${1#*=}"
    [[ "$plan" == /* ]] || plan="$started/$plan"
    ;;
  --images-from=*)
    images_from="${1#*=}"
    [[ "$images_from" == /* ]] || images_from="$started/$images_from"
    ;;
  --rebuild) options+="$1 " ;;
  -h | --help) usage && exit 0 ;;
  *)
    [[ "$1" != *\ * && " ${takes:-} " == *" $1 "* ]] ||
      { printf '%s: unknown option %s\n\n' "$0" "$1" >&2 && usage >&2 && exit 2; }
    options+="$1 "
    ;;
  esac
  shift
done
if [[ -z "$deployment" && -n "$dry_run" ]]; then
  deployment="$root/deploy/template/production.env"
  echo "# no deployment is named: the template's names stand for yours" >&2
fi
if [[ ! -f "$deployment" ]]; then
  [[ -z "$deployment" ]] || echo "$0: there is no file '$deployment'" >&2
  echo "$0: name your deployment by --deployment FOLDER/production.env or PROPENSITY_DEPLOYMENT;" \
    "'propensity deployment new FOLDER' creates one" >&2
  exit 2
fi
deployment="$(cd "$(dirname "$deployment")" && pwd)/$(basename "$deployment")"
cd "$root" || exit 1

python="$root/.venv/bin/python"
# The last file that `make setup` writes, or `make setup-deploy`.
[[ -x "$python" && (-e "$root/.venv/.set-up" || -e "$root/.venv/.set-up-to-deploy") ]] || { echo "deploy: $root/.venv is missing or incomplete. Run 'make setup' in $root first" >&2 && exit 1; }

# Assigns all names that no script sets, by deploy/__main__.py, for example
#   project=my-project region=europe-west1 location=EU bucket=my-bucket prefix=propensity
#   functions='model_training …' services='propensity-model-training …' schedules, jobs
#   every='propensity-…'           services of all functions, of DEPLOY_FUNCTIONS or not
#   trained=ga4_purchase           use cases of trainings; exports=my-project.analytics_1
#   account_build=propensity-build@…    and account_FUNCTION, account_scheduler, …
#   repository=europe-west1-docker.pkg.dev/my-project/propensity   state_bucket=…-state
#   work=.local/deploy/my-project-propensity    staged=$work/staged
#   environment='^|^NAME=value|…' secret=--set-secrets=…    of gcloud, for each function
#   vpc_connector, vpc_egress, functions_kms_key and such: the setting DEPLOY_…, or ""
# and of the function $target the lists of deploy/flags.py: service, clock, called, crons.
names="$("$python" -m deploy shell --deployment "$deployment" --function="${target:-}")"
eval "$names"

# Print for how many more seconds rights may be on their way: IAM takes minutes to spread
# what the set-up has granted.
spreading() {
  local granted="$root/$work/granted"
  if [[ -f "$granted" ]]; then echo $((patience_s - $(date +%s) + $(<"$granted"))); else echo 0; fi
}

# Run a command, or print it so that a shell would run the same. What is refused while
# rights are on their way is tried again.
run() {
  if [[ -n "$dry_run" ]]; then
    printf '%q ' "$@" && echo
    return
  fi
  local status left refusal
  refusal="$(mktemp)"
  while :; do
    status=0
    { "$@" 2>&1 1>&3 3>&- | tee "$refusal" >&2 3>&-; } 3>&1 || status=$?
    left="$(spreading)"
    if [[ $status == 0 || $left -le 0 ]] ||
      ! grep -qiE 'PERMISSION_DENIED|does not have permission|permission.* denied' "$refusal"; then
      rm -f "$refusal"
      return "$status"
    fi
    echo "deploy: waiting up to $left s more for permissions that deploy/setup.sh has just granted" >&2
    sleep $((left < 5 ? left : 5))
  done
}

# Tell whether a function is one of DEPLOY_FUNCTIONS.
deploys() {
  [[ " $functions " == *" $1 "* ]] || { echo "# $1 is not among DEPLOY_FUNCTIONS" && false; }
}

# Print the address of a function.
url_of() {
  local service="$prefix-${1//_/-}"
  if [[ -n "$dry_run" ]]; then
    echo "https://$service-PROJECT_NUMBER.$region.run.app"
  else
    gcloud run services describe "$service" --project="$project" --region="$region" \
      --format='value(status.url)'
  fi
}

# Set the words with which a schedule is made, or changed where it is there, and what it
# calls so far.
how_to_schedule() {
  verb=create header=--headers calls=""
  if [[ -z "$dry_run" ]] && calls="$(gcloud scheduler jobs describe "$1" --project="$project" \
    --location="$region" --format='value(httpTarget.uri)' 2>/dev/null)"; then
    verb=update header=--update-headers
  fi
}

# Make a job, or change it: its name, its account, what it runs as gcloud's list, and other
# flags. Its image is the very one that the deployed training runs in.
deploy_job() {
  local image="IMAGE_OF_THE_FUNCTION" network=()
  [[ -n "$dry_run" ]] || image="$(gcloud run services describe "$prefix-model-training" \
    --project="$project" --region="$region" \
    --format='value(spec.template.spec.containers[0].image)')"
  [[ -z "$vpc_connector" ]] || network=(--vpc-connector="$vpc_connector" --vpc-egress="$vpc_egress")
  [[ -z "$functions_kms_key" ]] || network+=(--key="$functions_kms_key")
  # The launcher starts a process in a buildpack's image. Without "--" it would let a shell
  # take the quotes out of a request. A job has 23 hours.
  run gcloud run jobs deploy "$1" --image="$image" --service-account="$2" \
    --command=/cnb/lifecycle/launcher --args="^|^--|python3|$3" "${@:4}" \
    --task-timeout=82800 --tasks=1 --max-retries=0 --set-env-vars="$environment" "$secret" \
    ${network[@]+"${network[@]}"} --project="$project" --region="$region" --quiet
}

