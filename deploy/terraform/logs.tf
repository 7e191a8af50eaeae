# A bucket of the log for the lines that functions write: one a run, none with a user's
# id. The project's own bucket, _Default, keeps all lines for thirty days; runs can be
# looked up here for longer, in the region of the deployment.

resource "google_logging_project_bucket_config" "runs" {
  project        = "projects/${var.project}"
  location       = var.region
  bucket_id      = var.prefix
  description    = "What the functions of ${var.prefix} write"
  retention_days = var.log_days
  depends_on     = [google_project_service.api]
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
