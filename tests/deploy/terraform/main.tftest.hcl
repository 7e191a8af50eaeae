# deploy/terraform, specified: what Terraform itself makes of it, and of a change of the
# settings. By the Google provider's published schema, with nothing behind it.

mock_provider "google" {
  mock_data "google_bigquery_dataset" {
    defaults = { location = "US" }
  }
  mock_data "google_bigquery_tables" {
    defaults = { tables = [{ table_id = "events_20250101" }] }
  }
  mock_resource "google_pubsub_topic" {
    defaults = { id = "a topic" }
  }
}

mock_provider "google" {
  alias = "billing"
}

# The first plan, since a table that is there keeps its key; test_terraform.py reads it.
run "with_keys" {
  command = plan
  variables {
    kms_key           = "projects/keys/locations/us/keyRings/data/cryptoKeys/propensity"
    functions_kms_key = "projects/keys/locations/us-central1/keyRings/data/cryptoKeys/propensity"
  }
}

run "a_whole_deployment_is_applied" {
  # named.json is what scripts call things.
  assert {
    condition     = endswith(jsondecode(file("named.json"))["repository"], "/${google_artifact_registry_repository.images["images"].repository_id}")
    error_message = "Images are not where scripts put them."
  }
  assert {
    condition = alltrue([
      for name, one in merge(google_service_account.function, google_service_account.helper) :
      "${one.account_id}@${var.project}.iam.gserviceaccount.com" == jsondecode(file("named.json"))["account_${name}"]
    ])
    error_message = "Accounts are not those that scripts deploy with."
  }
  assert {
    condition     = toset(keys(google_project_iam_member.counts_requests)) == toset(["audiences", "operator"])
    error_message = "Who sends to Google may not use the project for its requests, or others may."
  }
  assert {
    condition     = alltrue([for one in google_monitoring_alert_policy.policy : length(one.notification_channels) == 2])
    error_message = "Somebody is not told of an alert."
  }
}

run "what_is_taken_out_has_no_account_and_no_right" {
  command = plan
  variables {
    functions = ["model_training", "get_proba", "compact_features", "stream_features"]
    callers   = ["group:website@example.com"]
  }
  assert {
    condition     = toset(keys(google_service_account.function)) == setunion(var.functions, ["operator"])
    error_message = "A function has an account."
  }
  assert {
    condition = length([
      for key in concat(
        keys(google_project_iam_member.right),
        keys(google_bigquery_table_iam_member.right),
        keys(google_bigquery_dataset_iam_member.export),
        keys(google_storage_bucket_iam_member.names),
        keys(google_storage_bucket_iam_member.objects),
        keys(google_pubsub_topic_iam_member.right),
        keys(google_cloud_run_v2_service_iam_binding.invoker),
      ) : key if !contains(concat(tolist(var.functions), ["operator"]), split(" ", key)[0])
    ]) == 0
    error_message = "A function has a right."
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_binding.invoker["get_proba"].members == toset(["group:website@example.com"])
    error_message = "Others may call."
  }
}

run "a_teardown_keeps_what_holds_data_and_nothing_else" {
  command = plan
  variables {
    keep_only_data  = true
    billing_account = "0A1B2C-3D4E5F-678901"
  }
  assert {
    condition     = toset(keys(google_bigquery_table.table)) == toset(keys(local.tables)) && google_bigquery_table.table["stream_events"].deletion_protection
    error_message = "A table goes, or is not protected."
  }
  assert {
    condition     = toset(keys(google_pubsub_subscription.subscription)) == toset(keys(local.messages.subscriptions))
    error_message = "Waiting messages go."
  }
  assert {
    condition     = toset(keys(google_secret_manager_secret.destination)) == toset(["CRM_TOKEN"])
    error_message = "A secret goes, with the value that a person has added."
  }
  assert {
    condition = length(merge(
      google_service_account.function,
      google_project_iam_custom_role.own,
      google_bigquery_table_iam_member.right,
      google_storage_bucket_iam_member.objects,
      google_monitoring_alert_policy.policy,
      google_billing_budget.month,
      terraform_data.roles_made,
      terraform_data.deployed,
    )) == 0
    error_message = "Accounts, roles, rights or alerts stay, or the next deployment would want the ids of deleted roles."
  }
}

run "each_export_has_a_view_a_digest_and_rights" {
  command = plan
  variables {
    exports = { "" = "analytics_1", "_analytics_2" = "analytics_2", "_analytics_3" = "theirs.analytics_3" }
  }
  assert {
    condition = alltrue([
      for name in ["analytics_2", "analytics_3"] :
      strcontains(google_bigquery_table.ga_events["ga_events_${name}"].view[0].query, ".${name}.events_2*`")
    ])
    error_message = "A view is missing, or reads another export."
  }
  assert {
    condition = alltrue([
      for name in ["ga_events", "ga_user_days"] :
      [for key in sort(keys(google_bigquery_table_iam_member.right)) : split(" ", key)[0] if google_bigquery_table_iam_member.right[key].table_id == name] ==
      [for key in sort(keys(google_bigquery_table_iam_member.right)) : split(" ", key)[0] if google_bigquery_table_iam_member.right[key].table_id == "${name}_analytics_2"]
    ])
    error_message = "Who reads one export may not read another."
  }
  assert {
    condition     = toset([for one in google_bigquery_dataset_iam_member.export : one.dataset_id]) == toset(["analytics_1", "analytics_2"])
    error_message = "Exports are not granted."
  }
  assert {
    condition     = length(output.for_the_owner_of_the_export) > 0 && alltrue([for one in output.for_the_owner_of_the_export : startswith(one, "GRANT `roles/bigquery.dataViewer` ON SCHEMA `theirs.analytics_3` TO ")])
    error_message = "The owner of an export is not told."
  }
}

run "an_export_elsewhere_is_refused_before_anything_is_made" {
  command = plan
  variables {
    location = "EU"
  }
  expect_failures = [terraform_data.settings]
}
