# What the project itself is given: APIs, roles, one account for each function, keys, and
# a bucket of the log.

locals {
  apis = concat(
    [
      "artifactregistry", "bigquery", "bigquerystorage", "cloudbuild", "cloudscheduler",
      "containeranalysis", "iam", "logging", "monitoring", "pubsub", "run", "storage",
    ],
    var.suppression_secret != "" || length(local.secrets) > 0 ? ["secretmanager"] : [],
    var.kms_key != "" || var.functions_kms_key != "" ? ["cloudkms"] : [],
    var.vpc_connector != "" ? ["vpcaccess"] : [],
    local.sends_to_google ? ["datamanager"] : [],
    var.billing_account != "" ? ["billingbudgets"] : [],
  )
  # One by its whole name is the organisation's: who has it lets the builder write.
  is_own_repository = length(split("/", var.repository)) > 1
  repository        = var.repository != "" ? var.repository : var.prefix
  repositories      = var.keep_only_data || local.is_own_repository ? {} : { images = local.repository }
  helpers = {
    scheduler = "calls what is scheduled"
    push      = "pushes messages to functions"
    build     = "builds functions"
  }
}

data "google_project" "this" {
  project_id = var.project
}

resource "google_project_service" "api" {
  for_each = toset(local.apis)
  project  = var.project
  service  = "${each.value}.googleapis.com"
  # Others in the project may use them.
  disable_on_destroy = false
}

# When the roles were made, which ends their ids: Google gives the id of a deleted role to
# no other one for 37 days. It goes with the roles, so that a deployment can be made again.
resource "terraform_data" "roles_made" {
  for_each = var.keep_only_data ? {} : { at = "at" }
  input    = formatdate("YYYYMMDDhhmmss", plantimestamp())
  lifecycle {
    ignore_changes = [input]
  }
}

resource "google_project_iam_custom_role" "own" {
  for_each    = var.keep_only_data ? {} : local.roles
  project     = var.project
  role_id     = "${var.prefix}_${each.key}_${terraform_data.roles_made["at"].output}"
  title       = "${each.value.title} (${var.prefix})"
  permissions = each.value.permissions
  stage       = "GA"
  depends_on  = [google_project_service.api, terraform_data.settings]
}

resource "google_service_account" "function" {
  for_each     = local.parts
  project      = var.project
  account_id   = local.names[each.key]
  display_name = "Propensity ${each.value.title}"
  depends_on   = [google_project_service.api, terraform_data.settings]
}

resource "google_service_account" "helper" {
  for_each     = var.keep_only_data ? {} : local.helpers
  project      = var.project
  account_id   = "${var.prefix}-${each.key}"
  display_name = "Propensity ${each.value}"
  depends_on   = [google_project_service.api, terraform_data.settings]
}

# -- who builds --------------------------------------------------------------------------

resource "google_project_iam_member" "build_logs" {
  for_each = var.keep_only_data ? {} : { build = "build" }
  project  = var.project
  role     = "roles/logging.logWriter"
  member   = "serviceAccount:${google_service_account.helper["build"].email}"
}

resource "google_project_iam_member" "build_sources" {
  for_each = var.keep_only_data ? {} : { build = "build" }
  project  = var.project
  role     = "roles/storage.objectViewer"
  member   = "serviceAccount:${google_service_account.helper["build"].email}"
  # gcloud puts there what it uploads to be built; no other bucket is the builder's.
  condition {
    title      = "uploads of functions"
    expression = "resource.name.startsWith(\"projects/_/buckets/${local.uploads}\")"
  }
}

# With a key for functions deploy/function.sh uploads into the bucket, which has one, too.
resource "google_storage_bucket_iam_member" "build_sources" {
  for_each = var.functions_kms_key != "" && !var.keep_only_data ? { build = "build" } : {}
  bucket   = google_storage_bucket.this.name
  role     = "roles/storage.objectViewer"
  member   = "serviceAccount:${google_service_account.helper["build"].email}"
  condition {
    title      = "sources of functions"
    expression = "resource.name.startsWith(\"projects/_/buckets/${var.bucket}/objects/services/\")"
  }
}

resource "google_artifact_registry_repository" "images" {
  for_each      = local.repositories
  project       = var.project
  location      = var.region
  repository_id = each.value
  format        = "DOCKER"
  description   = "Images of the functions of ${var.prefix}"
  kms_key_name  = var.functions_kms_key != "" ? var.functions_kms_key : null
  labels        = local.labels
  # Running revisions are among the newest; older images only cost money.
  cleanup_policies {
    id     = "newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }
  # What another environment runs of these: deploy/function.sh tags it.
  cleanup_policies {
    id     = "released"
    action = "KEEP"
    condition {
      tag_state    = "TAGGED"
      tag_prefixes = ["released-"]
    }
  }
  cleanup_policies {
    id     = "old"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }
  depends_on = [google_project_service.api]
}

resource "google_artifact_registry_repository_iam_member" "build" {
  for_each   = local.repositories
  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images[each.key].repository_id
  role       = "roles/artifactregistry.writer"
  member     = "serviceAccount:${google_service_account.helper["build"].email}"
}

# A bucket of the log for the lines that functions write: one a run, none with a user's
# id. The project's own bucket, _Default, keeps all lines for thirty days; runs can be
# looked up here for longer, in the region of the deployment.

resource "google_logging_project_bucket_config" "runs" {
  project        = "projects/${var.project}"
  location       = var.region
  bucket_id      = var.prefix
  description    = "What the functions of ${var.prefix} write"
  retention_days = var.log_days
  dynamic "cmek_settings" {
    for_each = var.functions_kms_key != "" ? [var.functions_kms_key] : []
    content {
      kms_key_name = cmek_settings.value
    }
  }
  lifecycle {
    # A log bucket that was there before keeps its key.
    ignore_changes = [cmek_settings]
  }
  depends_on = [google_project_service.api]
}

resource "google_logging_project_sink" "runs" {
  for_each    = var.keep_only_data ? {} : { runs = "${var.prefix}-runs" }
  project     = var.project
  name        = each.value
  destination = "logging.googleapis.com/${google_logging_project_bucket_config.runs.id}"
  # Lines of ours name the function; the platform's, one a request, do not.
  filter                 = "(resource.labels.service_name=~\"^${var.prefix}-\" OR resource.labels.job_name=~\"^${var.prefix}-\") AND jsonPayload.function:*"
  unique_writer_identity = true
}
