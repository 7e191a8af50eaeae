#!/usr/bin/env bash
# Let someone deploy who does not own the project, or with --operator run commands by
# deploy/operate.sh and requests by deploy/call.sh: give them the roles that these need, and
# no more. An owner of the project runs this, once; for an operator after the first deploy.
#
#   deploy/roles.sh [--operator] MEMBER [--dry-run] [--deployment FILE]
#   deploy/roles.sh --operator group:crm-team@example.com
#   deploy/roles.sh user:ana@example.com
#   deploy/roles.sh principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/attribute.repository/me/shop
#   deploy/roles.sh serviceAccount:deployer@my-project.iam.gserviceaccount.com
set -euo pipefail
member="" operator="" previous="" others=()
# MEMBER may stand anywhere; the word after --deployment is a file.
for word in "$@"; do
  if [[ "$word" == --operator ]]; then
    operator=yes
  elif [[ "$word" == -* || "$previous" == --deployment || -n "$member" ]]; then
    others+=("$word")
  else
    member="$word"
  fi
  previous="$word"
done
set -- ${others[@]+"${others[@]}"}
before=yes
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ "$member" =~ ^(user|group|serviceAccount):[^@\ ]+@[^@\ ]+$ || "$member" =~ ^principal(Set)?://iam\.googleapis\.com/[^*\ ]+$ ]] || {
  echo "$0: MEMBER is '$member', which is not a member. Example: user:ana@example.com" >&2
  exit 2
}
# Give roles in the project.
grant() {
  local role
  for role in "$@"; do
    run gcloud projects add-iam-policy-binding "$project" --member="$member" \
      --role="roles/$role" --condition=None --quiet --format=none
  done
}
# Give a role on the objects of the bucket below a folder.
grant_folder() {
  run gcloud storage buckets add-iam-policy-binding "gs://$bucket" --member="$member" \
    --role="roles/$1" --quiet --format=none \
    --condition="^|^title=$2|expression=resource.name.startsWith(\"projects/_/buckets/$bucket/objects/$2/\")"
}

if [[ -n "$operator" ]]; then
  roles=(
    run.viewer              # waits for the job, and asks where functions are
    logging.viewer          # answers of commands, and lines of functions
    monitoring.viewer       # alerts
    cloudscheduler.admin    # deploy/call.sh makes a schedule, and an alert may say to pause one
  )
  grant "${roles[@]}"
  run gcloud run jobs add-iam-policy-binding "$prefix-operator" --member="$member" \
    --role=roles/run.jobsExecutorWithOverrides --region="$region" --project="$project" --format=none
  # The schedule of a call asks as this account, which may call functions and nothing else.
  run gcloud iam service-accounts add-iam-policy-binding "$account_scheduler" --member="$member" \
    --role=roles/iam.serviceAccountUser --project="$project" --quiet --format=none
  # What a command reads, and pages to look at.
  grant_folder storage.objectUser operate
  grant_folder storage.objectViewer dashboard
  grant_folder storage.objectViewer reports
  exit 0
fi
roles=(
  serviceusage.serviceUsageAdmin    # enables APIs
  resourcemanager.projectIamAdmin   # gives functions their rights in the project
  iam.roleAdmin                     # makes roles of our own
  iam.serviceAccountAdmin           # makes an account for each function
  iam.serviceAccountUser            # deploys functions that run as these
  bigquery.admin storage.admin pubsub.admin
  artifactregistry.admin cloudbuild.builds.editor run.admin run.sourceDeveloper
  cloudscheduler.admin
  logging.admin                     # a log bucket, its sink, metrics, and reading lines
  monitoring.editor                 # alerts
)
[[ -z "$suppression_secret$secrets" ]] || roles+=(secretmanager.admin)
[[ -z "$vpc_connector" ]] || roles+=(vpcaccess.user)
[[ -z "$worker_pool" ]] || roles+=(cloudbuild.workerPoolUser)
grant "${roles[@]}"
cat >&2 <<END
# In other projects, or above this one, the owners grant:
#   an export or a source in another project: roles/bigquery.dataViewer on its dataset
#   DEPLOY_KMS_KEY, DEPLOY_FUNCTIONS_KMS_KEY: what deploy/setup.sh prints
#   DEPLOY_BILLING_ACCOUNT: roles/billing.costsManager on the billing account
END
