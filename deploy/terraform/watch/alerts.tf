# Alert policies, from alerts/, with the bounds of the settings. A root
# of its own: where one of these cannot be made, all else is done.

locals {
  known         = jsondecode(file("${path.module}/../generated/functions.json"))
  use_cases     = jsondecode(file("${path.module}/../generated/use_cases.json"))
  subscriptions = jsondecode(file("${path.module}/../generated/topics.json")).subscriptions
  is_watched    = contains(var.functions, "compact_features")
  pushed        = [for name, one in local.subscriptions : "${var.prefix}-${name}" if one.function != "" && contains(var.functions, one.function)]
  letters       = [for name, one in local.subscriptions : "${var.prefix}-${name}" if one.function == ""]

  # Of each kind of run: the field of the compaction's log line that says how many days
  # ago the newest was done, and how many there may be. A week or a month has passed when
  # the next run is due, later on the same day than the compaction.
  ages = {
    model_training   = { field = "training_age_days", days = 31 }
    predictions      = { field = "publication_age_days", days = 7 }
    model_evaluation = { field = "evaluation_age_days", days = 7 }
    audiences        = { field = "audience_age_days", days = 1 }
  }
  called_for = {
    for name, one in local.ages : name => [
      for use_case in sort(var.use_cases) : use_case
      if !(local.known[name].skips_events && local.use_cases[use_case].scores_events)
    ]
  }

  words = {
    prefix                   = var.prefix
    project                  = var.project
    roc_auc                  = var.alert_roc_auc
    champion_days            = var.alert_champion_days
    run_bytes                = var.alert_run_bytes
    day_bytes                = var.alert_day_bytes
    lag_s                    = var.alert_lag_s
    subscriptions_pushed     = join("|", local.pushed)
    subscriptions_of_letters = join("|", local.letters)
    letters                  = "${var.prefix}-dead-letters"
    services_scheduled       = join(" OR ", [for name, one in local.known : "\\\"${var.prefix}-${replace(name, "_", "-")}\\\"" if one.is_scheduled])
    compactions              = google_logging_metric.compactions.name
    use_cases                = join(" OR ", [for one in sort(var.use_cases) : "\\\"${one}\\\""])
  }

  # Each file once; run_missed once for each function whose runs the compaction knows
  # the age of. What asks for a stream or a compaction that there is not is left out.
  files = toset([for file in fileset("${path.module}/alerts", "*.json") : trimsuffix(file, ".json")])
  left_out = concat(
    ["run_missed"],
    length(local.pushed) == 0 ? ["dead_letters", "stream_lag"] : [],
    local.is_watched ? [] : ["run_missed_compact_features"],
  )
  plain = {
    for name in setsubtract(local.files, local.left_out) : name => templatefile("${path.module}/alerts/${name}.json", local.words)
  }
  missed = {
    for name, age in local.ages : "run_missed_${name}" => templatefile("${path.module}/alerts/run_missed.json", merge(local.words, {
      function  = "${var.prefix}-${replace(name, "_", "-")}"
      target    = name
      field     = age.field
      days      = age.days
      use_cases = join(" OR ", [for one in local.called_for[name] : "\\\"${one}\\\""])
    })) if local.is_watched && contains(var.functions, name) && length(local.called_for[name]) > 0
  }
  policies = { for name, text in merge(local.plain, local.missed) : name => jsondecode(text) }
}

# Monitoring notices where this count is absent.
resource "google_logging_metric" "compactions" {
  project     = var.project
  name        = "${var.prefix}-compactions"
  description = "Compactions that were done"
  filter      = "resource.labels.service_name=\"${var.prefix}-compact-features\" AND jsonPayload.function=\"compactFeatures\" AND jsonPayload.outcome=\"ok\""
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_monitoring_notification_channel" "mail" {
  for_each     = var.alert_email != "" ? { mail = var.alert_email } : {}
  project      = var.project
  display_name = var.prefix
  type         = "email"
  labels       = { email_address = each.value }
}

resource "google_monitoring_alert_policy" "policy" {
  for_each              = local.policies
  project               = var.project
  display_name          = each.value.displayName
  severity              = each.value.severity
  combiner              = each.value.combiner
  user_labels           = { deployment = var.prefix, alert = each.key }
  notification_channels = [for one in google_monitoring_notification_channel.mail : one.name]

  documentation {
    content   = each.value.documentation.content
    mime_type = each.value.documentation.mimeType
  }
  alert_strategy {
    auto_close = each.value.alertStrategy.autoClose
    dynamic "notification_rate_limit" {
      for_each = try([each.value.alertStrategy.notificationRateLimit.period], [])
      content {
        period = notification_rate_limit.value
      }
    }
  }

  dynamic "conditions" {
    for_each = each.value.conditions
    content {
      display_name = conditions.value.displayName
      dynamic "condition_matched_log" {
        for_each = try([conditions.value.conditionMatchedLog], [])
        content {
          filter = condition_matched_log.value.filter
        }
      }
      dynamic "condition_threshold" {
        for_each = try([conditions.value.conditionThreshold], [])
        content {
          filter          = condition_threshold.value.filter
          comparison      = condition_threshold.value.comparison
          threshold_value = condition_threshold.value.thresholdValue
          duration        = condition_threshold.value.duration
          dynamic "aggregations" {
            for_each = condition_threshold.value.aggregations
            content {
              alignment_period     = aggregations.value.alignmentPeriod
              per_series_aligner   = aggregations.value.perSeriesAligner
              cross_series_reducer = try(aggregations.value.crossSeriesReducer, null)
            }
          }
        }
      }
      dynamic "condition_absent" {
        for_each = try([conditions.value.conditionAbsent], [])
        content {
          filter   = condition_absent.value.filter
          duration = condition_absent.value.duration
          dynamic "aggregations" {
            for_each = condition_absent.value.aggregations
            content {
              alignment_period     = aggregations.value.alignmentPeriod
              per_series_aligner   = aggregations.value.perSeriesAligner
              cross_series_reducer = try(aggregations.value.crossSeriesReducer, null)
            }
          }
        }
      }
    }
  }
}

output "unwatched" {
  description = "Functions whose missed runs raise no alert, because compact_features, which checks daily, is not deployed."
  value       = local.is_watched ? [] : sort([for name in keys(local.ages) : name if contains(var.functions, name)])
}
