# What every function and the operators' job may do, each right on a single thing, from
# functions.toml and nothing else; who may publish events, and who may call a function.

resource "google_project_iam_member" "right" {
  for_each = { for key, one in local.rights : key => one if one.on == "project" }
  project  = var.project
  role     = each.value.role
  member   = each.value.member
}

resource "google_bigquery_table_iam_member" "right" {
  for_each   = { for key, one in local.rights : key => one if one.on == "table" && (!startswith(one.name, "ga_events") || contains(keys(local.exports_with_days), one.name)) }
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = each.value.name
  role       = each.value.role
  member     = each.value.member
  depends_on = [google_bigquery_table.table, google_bigquery_table.view, google_bigquery_table.ga_events]
}

resource "google_bigquery_dataset_iam_member" "right" {
  for_each   = { for key, one in local.rights : key => one if one.on == "dataset" }
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = each.value.role
  member     = each.value.member
}

# On the dataset, since tables come every day. In a project of others only its owner may
# grant that: outputs.tf has the commands for them.
resource "google_bigquery_dataset_iam_member" "export" {
  for_each   = { for key, one in local.rights : key => one if one.on == "export" && try(!local.exports[one.export].is_foreign, false) }
  project    = local.exports[each.value.export].project
  dataset_id = local.exports[each.value.export].dataset
  role       = each.value.role
  member     = each.value.member
}

# On just these tables. In a project of others only its owner may grant that, too.
resource "google_bigquery_table_iam_member" "source" {
  for_each   = { for key, one in local.sources : key => one if one.project == var.project }
  project    = each.value.project
  dataset_id = each.value.parts[1]
  table_id   = each.value.parts[0]
  role       = "roles/bigquery.dataViewer"
  member     = each.value.member
  depends_on = [google_service_account.function]
}

resource "google_storage_bucket_iam_member" "names" {
  for_each = { for key, one in local.rights : key => one if one.on == "bucket" }
  bucket   = google_storage_bucket.this.name
  role     = each.value.role
  member   = each.value.member
}

resource "google_storage_bucket_iam_member" "objects" {
  for_each = { for key, one in local.rights : key => one if one.on == "objects" }
  bucket   = google_storage_bucket.this.name
  role     = each.value.role
  member   = each.value.member
  condition {
    title = "${each.value.verb} ${each.value.prefix}${each.value.suffix != "" ? "*" : ""}${each.value.suffix}"
    expression = join(" && ", concat(
      ["resource.name.startsWith(\"projects/_/buckets/${var.bucket}/objects/${each.value.prefix}\")"],
      each.value.suffix != "" ? ["resource.name.endsWith(\"${each.value.suffix}\")"] : [],
    ))
  }
}

resource "google_pubsub_topic_iam_member" "right" {
  for_each = { for key, one in local.rights : key => one if one.on == "topic" && contains(keys(local.wanted_topics), one.name) }
  project  = var.project
  topic    = google_pubsub_topic.topic[each.value.name].name
  role     = each.value.role
  member   = each.value.member
}

resource "google_pubsub_subscription_iam_member" "right" {
  for_each     = { for key, one in local.rights : key => one if one.on == "subscription" && contains(keys(local.subscriptions), one.name) }
  project      = var.project
  subscription = google_pubsub_subscription.subscription[each.value.name].name
  role         = each.value.role
  member       = each.value.member
}

resource "google_pubsub_topic_iam_member" "producer" {
  for_each = local.is_streaming && !var.keep_only_data ? var.producers : []
  project  = var.project
  topic    = google_pubsub_topic.topic["events"].name
  role     = "roles/pubsub.publisher"
  member   = each.value
}

# Of each secret that a destination of an audience names, and of a chat's address. Its value is a version, which a
# person adds: none is in the state. It stays with the data: a deleted one is lost.
resource "google_secret_manager_secret" "destination" {
  for_each  = local.secrets
  project   = var.project
  secret_id = "${var.prefix}-${each.key}"
  labels    = local.labels
  replication {
    user_managed {
      replicas {
        location = var.region
        dynamic "customer_managed_encryption" {
          for_each = var.functions_kms_key != "" ? [var.functions_kms_key] : []
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }
  lifecycle {
    # Another one would be a new secret, without its value.
    ignore_changes = [replication]
  }
  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_iam_member" "destination" {
  for_each = merge([
    for name, one in local.parts : {
      for secret in toset(concat(one.reads_secrets && var.sends ? local.named : [], one.reads_webhook ? local.webhooks : [])) : "${name} ${secret}" => {
        function = name
        secret   = secret
      }
    } if !var.keep_only_data
  ]...)
  project   = var.project
  secret_id = google_secret_manager_secret.destination[each.value.secret].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.function[each.value.function].email}"
}

resource "google_secret_manager_secret_iam_member" "suppression_key" {
  for_each  = { for name, one in local.parts : name => one if one.needs_key && var.suppression_secret != "" }
  project   = var.project
  secret_id = var.suppression_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.function[each.key].email}"
}

# Google's receivers count a request to this project.
resource "google_project_iam_member" "counts_requests" {
  for_each = { for name, one in local.parts : name => one if one.reads_secrets && local.sends_to_google && var.sends }
  project  = var.project
  role     = "roles/serviceusage.serviceUsageConsumer"
  member   = "serviceAccount:${google_service_account.function[each.key].email}"
}

# Who may call a function: the scheduler, Pub/Sub, and of those that people call whoever
# is named. A binding holds these and nobody else: who was let in by hand, or is taken
# out of the settings, is out.

locals {
  callers = {
    for name, url in local.services : name => concat(
      local.functions[name].is_scheduled ? [try("serviceAccount:${google_service_account.helper["scheduler"].email}", "")] : [],
      length(local.functions[name].subscriptions) > 0 ? [try("serviceAccount:${google_service_account.helper["push"].email}", "")] : [],
      local.functions[name].is_public ? sort(var.callers) : [],
    )
  }
}

resource "google_cloud_run_v2_service_iam_binding" "invoker" {
  for_each = { for name, members in local.callers : name => members if length(members) > 0 }
  project  = var.project
  location = var.region
  name     = local.names[each.key]
  role     = "roles/run.invoker"
  members  = each.value
}
