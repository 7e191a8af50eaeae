#!/usr/bin/env bash
# Let someone deploy who does not own the project: give them the roles that this needs, and
# no more. With --planner only what deploy/setup.sh --dry-run --plan=FOLDER needs, which
# reads no rows, no objects but Terraform's state, and no secret; with --operator, what
# deploy/operate.sh and deploy/call.sh need. An owner of the project runs this, once; for
# these two after the first deploy.
#
#   deploy/roles.sh MEMBER [--planner | --operator] [--dry-run] [--deployment FILE]
#   deploy/roles.sh group:crm-team@example.com --operator
#   deploy/roles.sh user:ana@example.com
#   deploy/roles.sh principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/subject/123456789:production
set -euo pipefail
takes="--operator --planner" member=""
[[ "${1:--}" == -* ]] || { member="$1" && shift; }
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ "$member" =~ ^(user|group|serviceAccount):[^@\ ]+@[^@\ ]+$ || "$member" =~ ^principal(Set)?://iam\.googleapis\.com/[^*\ ]+$ ]] || {
  echo "$0: MEMBER is '$member', which is not a member. Example: user:ana@example.com" >&2
  exit 2
}
# Of a repository it is every branch, whoever pushed it, and no reviewer is asked.
[[ "$member" != principalSet://*/workloadIdentityPools/* ]] || {
  echo "$0: MEMBER is every workload with an attribute, such as every branch of a repository. Name one environment:" \
    "principal://…/subject/123456789:production" >&2
  exit 2
}
# Give roles in the project.
grant() {
  local role
  for role in "$@"; do
    [[ "$role" == projects/* ]] || role="roles/$role"
    run gcloud projects add-iam-policy-binding "$project" --member="$member" \
      --role="$role" --condition=None --quiet --format=none
  done
}
# Give a role on the objects of the bucket below a folder.
grant_folder() {
  run gcloud storage buckets add-iam-policy-binding "gs://$bucket" --member="$member" \
    --role="roles/$1" --quiet --format=none \
    --condition="^|^title=$2|expression=resource.name.startsWith(\"projects/_/buckets/$bucket/objects/$2/\")"
}

if [[ "$options" == *" --operator "* ]]; then
  # Its id ends with when it was made.
  request_sender="projects/$project/roles/${prefix}_request_sender"
  [[ -n "$dry_run" ]] || request_sender="$(gcloud iam roles list --project="$project" \
    --filter="name~/${prefix}_request_sender_" --format='value(name)')"
  [[ -n "$request_sender" ]] || { echo "deploy: nothing is set up. Run deploy/setup.sh first" >&2 && exit 1; }
  roles=(
    run.viewer              # waits for the job, and asks where functions are
    logging.viewer          # answers of commands, and lines of functions
    monitoring.viewer       # alerts
    # deploy/call.sh makes a schedule, and an alert may say to pause one: of any in the project.
    "$request_sender"
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
if [[ "$options" == *" --planner "* ]]; then
  roles=(
    browser iam.securityReviewer      # the project, its roles and accounts, and who has which right
    serviceusage.serviceUsageViewer serviceusage.serviceUsageConsumer
    bigquery.metadataViewer storage.bucketViewer pubsub.viewer
    artifactregistry.reader run.viewer secretmanager.viewer
    logging.viewer monitoring.viewer
  )
  grant "${roles[@]}"
  # Terraform's state, and what is deployed.
  run gcloud storage buckets add-iam-policy-binding "gs://$state_bucket" --member="$member" \
    --role=roles/storage.objectViewer --quiet --format=none
  [[ -z "$billing_account" ]] || echo "# The owner of the billing account $billing_account also grants roles/billing.viewer there" >&2
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
  secretmanager.admin               # secrets of destinations, and of a rehearsal
)
[[ -z "$vpc_connector" ]] || roles+=(vpcaccess.user)
[[ -z "$worker_pool" ]] || roles+=(cloudbuild.workerPoolUser)
grant "${roles[@]}"
cat >&2 <<END
# In other projects, or above this one, the owners grant:
#   an export or a source in another project: roles/bigquery.dataViewer on its dataset
#   DEPLOY_KMS_KEY, DEPLOY_FUNCTIONS_KMS_KEY: what deploy/setup.sh prints
#   DEPLOY_BILLING_ACCOUNT: roles/billing.costsManager on the billing account
END
