# Topics, subscriptions, and what Pub/Sub itself must be allowed.

locals {
  subscriptions = {
    for name, one in local.messages.subscriptions : name => merge(one, {
      name = "${var.prefix}-${name}"
      url  = lookup(local.services, one.function, "")
    }) if local.is_streaming && (one.function == "" || contains(var.functions, one.function))
  }
  is_streaming  = anytrue([for name in var.functions : length(try(local.known[name].subscriptions, [])) > 0])
  published     = toset(flatten([for name in var.functions : [for one in try(local.known[name].rights, []) : one.name if one.on == "topic"]]))
  wanted_topics = { for name, topic in local.topics : name => topic if local.is_streaming || contains(local.published, name) }
  pubsub        = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "topic" {
  for_each     = local.wanted_topics
  project      = var.project
  name         = each.value
  kms_key_name = var.kms_key != "" ? var.kms_key : null
  labels       = local.labels
  # Wherever who publishes is, messages with personal data are kept here.
  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
  depends_on = [google_project_service.api, terraform_data.settings]
}

# Pulled until its function is there, so that messages wait and are not given up.
resource "google_pubsub_subscription" "subscription" {
  for_each                   = local.subscriptions
  project                    = var.project
  name                       = each.value.name
  topic                      = google_pubsub_topic.topic[each.value.topic].id
  ack_deadline_seconds       = each.value.acknowledge_s
  message_retention_duration = "604800s"
  labels                     = local.labels

  expiration_policy {
    ttl = "" # never
  }
  dynamic "push_config" {
    for_each = each.value.url != "" ? [each.value.url] : []
    content {
      push_endpoint = push_config.value
      oidc_token {
        service_account_email = google_service_account.helper["push"].email
        audience              = push_config.value
      }
    }
  }
  dynamic "retry_policy" {
    for_each = each.value.function != "" ? [each.value] : []
    content {
      minimum_backoff = "${retry_policy.value.minimum_backoff_s}s"
      maximum_backoff = "${retry_policy.value.maximum_backoff_s}s"
    }
  }
  dynamic "dead_letter_policy" {
    for_each = each.value.function != "" ? [each.value] : []
    content {
      dead_letter_topic     = google_pubsub_topic.topic["dead-letters"].id
      max_delivery_attempts = dead_letter_policy.value.attempts
    }
  }
  # Else pushes are refused until who pushes is let in, and each refusal is an attempt.
  depends_on = [google_cloud_run_v2_service_iam_binding.invoker]
}

resource "google_pubsub_topic_iam_member" "dead_letters" {
  for_each = local.is_streaming ? { pubsub = "dead-letters" } : {}
  project  = var.project
  topic    = google_pubsub_topic.topic[each.value].name
  role     = "roles/pubsub.publisher"
  member   = local.pubsub
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  for_each     = { for name, one in local.subscriptions : name => one if one.function != "" }
  project      = var.project
  subscription = google_pubsub_subscription.subscription[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub
}

resource "google_service_account_iam_member" "push" {
  for_each           = local.is_streaming && !var.keep_only_data ? { pubsub = "push" } : {}
  service_account_id = google_service_account.helper[each.value].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.pubsub
}
