# deploy/terraform for a company with keys of its own: test_terraform.py reads this plan.

mock_provider "google" {
  mock_data "google_bigquery_dataset" {
    defaults = { location = "US" }
  }
  mock_data "google_bigquery_tables" {
    defaults = { tables = [{ table_id = "events_20250101" }] }
  }
}

run "a_company_with_policies" {
  command = plan
  variables {
    kms_key           = "projects/keys/locations/us/keyRings/data/cryptoKeys/propensity"
    functions_kms_key = "projects/keys/locations/us-central1/keyRings/data/cryptoKeys/propensity"
  }
}
