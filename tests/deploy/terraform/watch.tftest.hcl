# deploy/terraform/watch, specified: alerts, and a budget where it is wanted.

mock_provider "google" {}

mock_provider "google" {
  alias = "billing"
}

run "without_a_billing_account_nothing_asks_for_rights_on_billing" {
  command = plan
  assert {
    condition     = length(google_billing_budget.month) + length(google_project_service.budgets) == 0
    error_message = "There is a budget."
  }
}

run "a_budget_is_for_the_project_alone" {
  command = plan
  variables {
    billing_account = "0A1B2C-3D4E5F-678901"
  }
  assert {
    condition     = length(google_billing_budget.month["month"].budget_filter[0].projects) == 1
    error_message = "It is for others, too."
  }
}

run "an_alert_goes_to_the_mail_and_to_channels" {
  command = plan
  variables {
    alert_channels = ["projects/my-project/notificationChannels/1"]
  }
  assert {
    condition     = length(google_monitoring_alert_policy.policy) == length(local.alerts.policies)
    error_message = "An alert has no policy."
  }
  assert {
    condition     = alltrue([for one in google_monitoring_alert_policy.policy : length(one.notification_channels) == 2])
    error_message = "Somebody is not told."
  }
}
