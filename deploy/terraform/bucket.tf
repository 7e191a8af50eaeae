# Models, leases, the features of publications, exports.

resource "google_storage_bucket" "this" {
  project                     = var.project
  name                        = var.bucket
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.delete_data
  labels                      = local.labels

  # Objects that are replaced, such as champion.json, can be restored for a month.
  versioning {
    enabled = true
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      with_state                 = "ARCHIVED"
      days_since_noncurrent_time = 30
    }
  }
  # The compaction writes a day's export again while its events still come, and operators
  # name users whom a job forgets: personal data that no one reads.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      with_state                 = "ARCHIVED"
      days_since_noncurrent_time = 1
      matches_prefix             = ["exports/", "operate/"]
    }
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 1
      matches_prefix = ["operate/"]
    }
  }
  # Deleted objects cannot be restored, because a user who is forgotten must be gone.
  # What was replaced by mistake is among the generations above.
  soft_delete_policy {
    retention_duration_seconds = 0
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 400
      matches_prefix = ["runs/"]
    }
  }
  # Files of audiences may have addresses. The key of control groups beside them stays.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 400
      matches_prefix = ["audiences/"]
      matches_suffix = [".csv", ".parquet"]
    }
  }
  lifecycle_rule {
    action {
      type          = "SetStorageClass"
      storage_class = "NEARLINE"
    }
    condition {
      age            = 60
      matches_prefix = ["exports/"]
    }
  }
  dynamic "encryption" {
    for_each = var.kms_key != "" ? [var.kms_key] : []
    content {
      default_kms_key_name = encryption.value
    }
  }
  depends_on = [google_project_service.api, terraform_data.settings]
}
