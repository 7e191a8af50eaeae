#!/usr/bin/env bash
# Let someone deploy who does not own the project: give them the roles that the scripts
# need, and no more. An owner of the project runs this, once.
#
#   deploy/roles.sh MEMBER [--dry-run] [--deployment FILE]
#   deploy/roles.sh user:ana@example.com
#   deploy/roles.sh principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/attribute.repository/me/shop
#   deploy/roles.sh serviceAccount:deployer@my-project.iam.gserviceaccount.com
set -euo pipefail
member=""
[[ "${1:--}" == -* ]] || { member="$1" && shift; }
before=yes
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ "$member" =~ ^(user|group|serviceAccount):[^@\ ]+@[^@\ ]+$ || "$member" =~ ^principal(Set)?://iam\.googleapis\.com/[^*\ ]+$ ]] || {
  echo "$0: MEMBER is '$member', which is not a member. Example: user:ana@example.com" >&2
  exit 2
}
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
for role in "${roles[@]}"; do
  run gcloud projects add-iam-policy-binding "$project" --member="$member" \
    --role="roles/$role" --condition=None --quiet --format=none
done
cat >&2 <<END
# In other projects, or above this one, the owners grant:
#   an export or a source in another project: roles/bigquery.dataViewer on its dataset
#   DEPLOY_KMS_KEY, DEPLOY_FUNCTIONS_KMS_KEY: what deploy/setup.sh prints
#   DEPLOY_BILLING_ACCOUNT: roles/billing.costsManager on the billing account
END
