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
