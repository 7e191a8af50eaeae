# What lets Google's services use the customer's keys, before anything does. A key and
# its ring are made by who administers keys. They stay while there are data: without
# these rights what is kept could not be read.

data "google_bigquery_default_service_account" "this" {
  count      = var.kms_key != "" ? 1 : 0
  project    = var.project
  depends_on = [google_project_service.api]
}

data "google_storage_project_service_account" "this" {
  count      = var.kms_key != "" || var.functions_kms_key != "" ? 1 : 0
  project    = var.project
  depends_on = [google_project_service.api]
}

locals {
  number = data.google_project.this.number
  agents = {
    bigquery         = try(data.google_bigquery_default_service_account.this[0].email, "")
    storage          = try(data.google_storage_project_service_account.this[0].email_address, "")
    pubsub           = "service-${local.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    run              = "service-${local.number}@serverless-robot-prod.iam.gserviceaccount.com"
    artifactregistry = "service-${local.number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
  }
  # https://cloud.google.com/run/docs/securing/using-cmek
  encrypts = merge(
    { for one in ["bigquery", "storage", "pubsub"] : "data ${one}" => { service = one, key = var.kms_key } if var.kms_key != "" },
    { for one in ["run", "artifactregistry", "storage"] : "functions ${one}" => { service = one, key = var.functions_kms_key } if var.functions_kms_key != "" },
  )
}

resource "google_kms_crypto_key_iam_member" "agent" {
  for_each      = local.encrypts
  crypto_key_id = each.value.key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${local.agents[each.value.service]}"
}
