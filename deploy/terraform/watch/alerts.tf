# Alert policies, with the bounds of the settings, and a budget. A root of its own: where
# one of these cannot be made, all else is done.

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

  # Lines of the log that functions and training jobs write, the functions that the clock
  # calls, and the use cases that it calls them for.
  of_ours         = "(resource.labels.service_name=~\"^${var.prefix}-\" OR resource.labels.job_name=~\"^${var.prefix}-\")"
  scheduled       = join(" OR ", [for name, one in local.known : "\"${var.prefix}-${replace(name, "_", "-")}\"" if one.is_scheduled])
  use_cases_asked = join(" OR ", [for one in sort(var.use_cases) : "\"${one}\""])

  # Each is raised by a line of the log, by a metric above a value, or by a metric that is
  # absent. A line is mailed once a day at most, unless `pause` says otherwise.
  alerts = {
    audience_not_sent = {
      title    = "an audience was not sent"
      severity = "ERROR"
      log      = "${local.of_ours} AND jsonPayload.function=\"audiences\" AND jsonPayload.outcome=\"audience_stopped\""
      text     = "05-Audiences did not send an audience, or only some of its users, and will not try again today. No user is sent twice when it continues."
    }
    bytes_billed_day = {
      title    = "the project's queries billed more than a day's budget"
      severity = "WARNING"
      metric   = "metric.type=\"bigquery.googleapis.com/query/scanned_bytes_billed\" AND resource.type=\"global\""
      above    = var.alert_day_bytes
      lasting  = "0s"
      period   = "86400s"
      aligner  = "ALIGN_SUM"
      reducer  = "REDUCE_SUM"
      text     = "All queries of project ${var.project} together, also other people's, billed more than ${var.alert_day_bytes} bytes in a day."
    }
    bytes_billed_run = {
      title    = "a run billed more than it should"
      severity = "WARNING"
      log      = "${local.of_ours} AND jsonPayload.bytes_billed>${var.alert_run_bytes}"
      text     = "The queries of one run billed more than ${var.alert_run_bytes} bytes."
    }
    champion_age = {
      title    = "the champion was trained long ago"
      severity = "WARNING"
      log      = "${local.of_ours} AND jsonPayload.use_case=(${local.use_cases_asked}) AND jsonPayload.champion_age_days>${var.alert_champion_days}"
      text     = "The live version was trained more than ${var.alert_champion_days} days ago: trainings fail, are missed, or produce no better version."
    }
    dead_letters = {
      title    = "messages were given up"
      severity = "ERROR"
      metric   = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=monitoring.regex.full_match(\"${join("|", local.letters)}\")"
      above    = 0
      lasting  = "0s"
      period   = "300s"
      aligner  = "ALIGN_MAX"
      text     = "Messages failed as often as is allowed. They wait in the topic ${var.prefix}-dead-letters for seven days."
    }
    evaluation_missing = {
      title    = "predictions ran without the week's evaluation"
      severity = "WARNING"
      log      = "${local.of_ours} AND jsonPayload.function=\"predictions\" AND jsonPayload.evaluation_missing=true"
      text     = "01-Predictions published, but 03-ModelEvaluation had not run for a week. Nothing is lost: its next run catches up, thirteen weeks back at most."
    }
    events_refused = {
      title    = "events were refused"
      severity = "WARNING"
      log      = "${local.of_ours} AND jsonPayload.function=(\"streamFeatures\" OR \"scoreStream\") AND jsonPayload.reasons:*"
      text     = "Messages that can never be events are in the table dead_letters. The log entry counts them by reason."
    }
    message_not_sent = {
      title    = "the weekly message was not sent"
      severity = "WARNING"
      log      = "${local.of_ours} AND jsonPayload.function=\"overview\" AND jsonPayload.outcome=\"message_not_sent\""
      text     = "The chat did not take the weekly message. It is not sent again by itself."
    }
    no_index = {
      title    = "lookups are queries, without an index"
      severity = "WARNING"
      log      = "${local.of_ours} AND jsonPayload.function=\"getProba\" AND jsonPayload.outcome=\"no_index\" AND NOT jsonPayload.message=~\"^no index has been published yet\""
      text     = "Lookups query the table, because the index can't be used. Each query takes about a second and bills 10 MB or more."
    }
    roc_auc = {
      title    = "ROC AUC of the evaluated week is under the bound"
      severity = "WARNING"
      log      = "${local.of_ours} AND jsonPayload.function=\"modelEvaluation\" AND jsonPayload.roc_auc<${var.alert_roc_auc}"
      text     = "The ROC AUC of the newest evaluated week is below ${var.alert_roc_auc}."
    }
    run_failed = {
      title    = "a run failed"
      severity = "ERROR"
      log = join(" OR ", [
        # A line of ours, but for what is expected.
        "(${local.of_ours} AND jsonPayload.function=(\"modelTraining\" OR \"predictions\" OR \"modelEvaluation\" OR \"audiences\" OR \"compactFeatures\" OR \"overview\") AND jsonPayload.status>=400 AND NOT jsonPayload.outcome=(\"run_in_progress\" OR \"export_late\" OR \"audience_waits\" OR \"audience_stopped\") AND NOT (jsonPayload.outcome=\"no_champion\" AND jsonPayload.is_trained=false))",
        # The scheduler's, but for what it repeats.
        "(resource.type=\"cloud_scheduler_job\" AND resource.labels.job_id=~\"^${var.prefix}-\" AND severity>=ERROR AND NOT httpRequest.status=(409 OR 503))",
        # Killed for its memory, a function answers 503 and writes nothing.
        "(resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(${local.scheduled}) AND log_id(\"run.googleapis.com/varlog/system\") AND severity>=ERROR)",
        # A job that ends without a line of its own has told the scheduler 200 before.
        "(resource.type=\"cloud_run_job\" AND resource.labels.job_name=~\"^${var.prefix}-training-job-\" AND severity>=ERROR)",
      ])
      pause = "3600s"
      text  = "A scheduled run failed with an error that a retry won't fix, was killed, or took too long."
    }
    run_missed_compact_features = {
      title    = "no compaction was done for 25 hours"
      severity = "ERROR"
      absent   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.compactions.name}\" AND resource.type=\"cloud_run_revision\""
      lasting  = "84600s"
      period   = "5400s"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_SUM"
      text     = "No compaction has finished for more than a day. Until one does, missed runs of other functions go unnoticed."
    }
    stream_lag = {
      title    = "the stream lags behind"
      severity = "ERROR"
      metric   = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=monitoring.regex.full_match(\"${join("|", local.pushed)}\")"
      above    = var.alert_lag_s
      lasting  = "300s"
      period   = "60s"
      aligner  = "ALIGN_MAX"
      text     = "The oldest message has waited for more than ${var.alert_lag_s} seconds."
    }
  }
  # One for each function whose runs the compaction knows the age of.
  missed = {
    for name, age in local.ages : "run_missed_${name}" => {
      title    = "no run of ${var.prefix}-${replace(name, "_", "-")} was done for more than ${age.days} days"
      severity = "ERROR"
      log      = "${local.of_ours} AND jsonPayload.function=\"compactFeatures\" AND jsonPayload.use_case=(${join(" OR ", [for one in local.called_for[name] : "\"${one}\""])}) AND jsonPayload.${age.field}>${age.days}"
      text     = "The newest finished run is more than ${age.days} days old: later ones failed, were paused or were never called."
    } if local.is_watched && contains(var.functions, name) && length(local.called_for[name]) > 0
  }
  # What asks for a stream or a compaction that there is not.
  left_out = concat(
    length(local.pushed) == 0 ? ["dead_letters", "stream_lag"] : [],
    local.is_watched ? [] : ["run_missed_compact_features"],
  )
  policies = { for name, one in merge(local.alerts, local.missed) : name => one if !contains(local.left_out, name) }
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
  display_name          = "${var.prefix}: ${each.value.title}"
  severity              = each.value.severity
  combiner              = "OR"
  user_labels           = { deployment = var.prefix, alert = each.key }
  notification_channels = [for one in google_monitoring_notification_channel.mail : one.name]

  documentation {
    content   = "${each.value.text} What to do: docs/operate.md, section Alerts, `${each.key}`."
    mime_type = "text/markdown"
  }
  alert_strategy {
    auto_close = "604800s"
    dynamic "notification_rate_limit" {
      for_each = can(each.value.log) ? [try(each.value.pause, "86400s")] : []
      content {
        period = notification_rate_limit.value
      }
    }
  }

  conditions {
    display_name = each.value.title
    dynamic "condition_matched_log" {
      for_each = try([each.value.log], [])
      content {
        filter = condition_matched_log.value
      }
    }
    dynamic "condition_threshold" {
      for_each = try([each.value.metric], [])
      content {
        filter          = condition_threshold.value
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.above
        duration        = each.value.lasting
        aggregations {
          alignment_period     = each.value.period
          per_series_aligner   = each.value.aligner
          cross_series_reducer = try(each.value.reducer, null)
        }
      }
    }
    dynamic "condition_absent" {
      for_each = try([each.value.absent], [])
      content {
        filter   = condition_absent.value
        duration = each.value.lasting
        aggregations {
          alignment_period     = each.value.period
          per_series_aligner   = each.value.aligner
          cross_series_reducer = each.value.reducer
        }
      }
    }
  }
}

output "unwatched" {
  description = "Functions whose missed runs raise no alert, because compact_features, which checks daily, is not deployed."
  value       = local.is_watched ? [] : sort([for name in keys(local.ages) : name if contains(var.functions, name)])
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

resource "google_project_service" "budgets" {
  for_each           = local.budgets
  project            = var.project
  service            = "billingbudgets.googleapis.com"
  disable_on_destroy = false
}

locals {
  budgets = var.billing_account != "" ? { month = var.billing_account } : {}
}

resource "google_billing_budget" "month" {
  for_each        = local.budgets
  provider        = google.billing
  billing_account = each.value
  display_name    = var.prefix

  budget_filter {
    projects = ["projects/${data.google_project.this[each.key].number}"]
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
  depends_on = [google_project_service.budgets]
}

data "google_project" "this" {
  for_each   = local.budgets
  project_id = var.project
}
