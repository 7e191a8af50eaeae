# deploy/terraform for a company with policies, by settings that depend on each other: test_terraform.py
# reads these plans.

mock_provider "google" {
  mock_data "google_bigquery_dataset" {
    defaults = { location = "US" }
  }
  mock_data "google_bigquery_tables" {
    defaults = { tables = [{ table_id = "events_20250101" }] }
  }
}

mock_provider "google" {
  alias = "billing"
}

variables {
  kms_key           = "projects/keys/locations/us/keyRings/data/cryptoKeys/propensity"
  functions_kms_key = "projects/keys/locations/us-central1/keyRings/data/cryptoKeys/propensity"
}

run "both_keys" {
  command = plan
}

run "no_key" {
  command = plan
  variables {
    kms_key           = ""
    functions_kms_key = ""
  }
}

run "the_stream_alone_in_a_repository_of_the_organisation" {
  command = plan
  variables {
    functions   = ["stream_features", "score_stream", "compact_features", "model_training"]
    use_cases   = ["card_fraud"]
    ga4_dataset = ""
    repository  = "us-central1-docker.pkg.dev/images/all"
    sends       = false
  }
}

