# What can be there before this state knows of it: by the address that it has here, what
# Google's provider imports it by. deploy/adopt.sh reads it; nothing is made of it.
# Rights and APIs are not among these: to give or enable them twice changes nothing.

locals {
  adoptable = merge(
    {
      "google_bigquery_dataset.this" = "projects/${var.project}/datasets/${local.dataset}"
      "google_storage_bucket.this"   = var.bucket

      "google_logging_project_bucket_config.runs"  = "projects/${var.project}/locations/${var.region}/buckets/${var.prefix}"
      "google_logging_project_sink.runs[\"runs\"]" = "projects/${var.project}/sinks/${var.prefix}-runs"
      "google_bigquery_table.stream_features"      = "projects/${var.project}/datasets/${local.dataset}/tables/stream_features"
    },
    local.is_own_repository ? {} : {
      "google_artifact_registry_repository.images[\"images\"]" = "projects/${var.project}/locations/${var.region}/repositories/${local.repository}"
    },
    { for name in keys(local.tables) : "google_bigquery_table.table[\"${name}\"]" => "projects/${var.project}/datasets/${local.dataset}/tables/${name}" },
    { for name, topic in local.wanted_topics : "google_pubsub_topic.topic[\"${name}\"]" => "projects/${var.project}/topics/${topic}" },
    { for name, one in local.subscriptions : "google_pubsub_subscription.subscription[\"${name}\"]" => "projects/${var.project}/subscriptions/${one.name}" },
    { for name in keys(local.functions) : "google_service_account.function[\"${name}\"]" => "projects/${var.project}/serviceAccounts/${local.names[name]}@${local.accounts}" },
    { for name in keys(local.helpers) : "google_service_account.helper[\"${name}\"]" => "projects/${var.project}/serviceAccounts/${var.prefix}-${name}@${local.accounts}" },
    { for name in keys(local.roles) : "google_project_iam_custom_role.own[\"${name}\"]" => "projects/${var.project}/roles/${var.prefix}_${name}" },
  )
}
