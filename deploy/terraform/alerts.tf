# Alert policies, as deploy/alerts.py says, and a budget.

locals {
  alerts  = jsondecode(file("${path.module}/generated/alerts.json"))
  mails   = var.alert_email != "" && !var.keep_only_data ? { mail = var.alert_email } : {}
  budgets = var.billing_account != "" && !var.keep_only_data ? { month = var.billing_account } : {}
}

# Monitoring notices where this count is absent.
resource "google_logging_metric" "compactions" {
  for_each    = var.keep_only_data ? {} : { compactions = "${var.prefix}-compactions" }
  project     = var.project
  name        = each.value
  description = "Compactions that were done"
  filter      = "resource.labels.service_name=\"${var.prefix}-compact-features\" AND jsonPayload.function=\"compactFeatures\" AND jsonPayload.outcome=\"ok\""
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
  depends_on = [google_project_service.api]
}

resource "google_monitoring_notification_channel" "mail" {
  for_each     = local.mails
  project      = var.project
  display_name = var.prefix
  type         = "email"
  labels       = { email_address = each.value }
  depends_on   = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "policy" {
  for_each              = { for name, one in local.alerts.policies : name => one if !var.keep_only_data }
  project               = var.project
  display_name          = each.value.subject
  severity              = each.value.severity
  combiner              = "OR"
  user_labels           = each.value.labels
  notification_channels = concat([for one in google_monitoring_notification_channel.mail : one.name], sort(var.alert_channels))
  depends_on            = [google_logging_metric.compactions]

  documentation {
    subject   = each.value.subject
    content   = each.value.text
    mime_type = "text/markdown"
  }
  alert_strategy {
    auto_close = "604800s"
    dynamic "notification_rate_limit" {
      for_each = try([each.value.pause], [])
      content {
        period = notification_rate_limit.value
      }
    }
  }

  conditions {
    display_name = each.value.subject
    dynamic "condition_matched_log" {
      for_each = try([each.value.log], [])
      content {
        filter           = condition_matched_log.value
        label_extractors = { for name in each.value.quoted : name => "EXTRACT(jsonPayload.${name})" }
      }
    }
    dynamic "condition_threshold" {
      for_each = try([each.value.metric], [])
      content {
        filter          = condition_threshold.value.filter
        comparison      = "COMPARISON_GT"
        threshold_value = condition_threshold.value.above
        duration        = condition_threshold.value.lasting
        aggregations {
          alignment_period     = condition_threshold.value.period
          per_series_aligner   = condition_threshold.value.aligner
          cross_series_reducer = try(condition_threshold.value.reducer, null)
        }
      }
    }
    dynamic "condition_absent" {
      for_each = try([each.value.absent], [])
      content {
        filter   = condition_absent.value.filter
        duration = condition_absent.value.lasting
        aggregations {
          alignment_period     = condition_absent.value.period
          per_series_aligner   = condition_absent.value.aligner
          cross_series_reducer = condition_absent.value.reducer
        }
      }
    }
  }
}

# A mail when the project's month costs more than planned. Applying this needs
# roles/billing.costsManager on the billing account, and nothing more there; without a
# billing account there is no budget.

provider "google" {
  alias                 = "billing"
  project               = var.project
  billing_project       = var.project
  user_project_override = true
}

resource "google_billing_budget" "month" {
  for_each        = local.budgets
  provider        = google.billing
  billing_account = each.value
  display_name    = var.prefix

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }
  amount {
    specified_amount {
      units = tostring(var.budget)
    }
  }
  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]
    content {
      threshold_percent = threshold_rules.value
    }
  }
  # Without an address the billing account's administrators get the mail.
  dynamic "all_updates_rule" {
    for_each = length(google_monitoring_notification_channel.mail) > 0 ? ["mail"] : []
    content {
      monitoring_notification_channels = [for one in google_monitoring_notification_channel.mail : one.name]
    }
  }
  depends_on = [google_project_service.api]
}
