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

run "every_subscription_is_watched_and_every_kind_of_run" {
  command = plan
  assert {
    condition = alltrue([
      for name, one in local.subscriptions :
      strcontains(jsonencode(local.policies[one.function == "" ? "dead_letters" : "stream_lag"]), "${var.prefix}-${name}")
    ])
    error_message = "A subscription lags unseen."
  }
  assert {
    condition     = length(setintersection(keys(local.policies), formatlist("run_missed_%s", keys(local.ages)))) == length(local.ages)
    error_message = "A missed run is not noticed."
  }
}
