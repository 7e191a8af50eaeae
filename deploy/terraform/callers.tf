# Who may call a function: the scheduler, Pub/Sub, and of those that people call whoever
# is named. A binding holds these and nobody else: who was let in by hand, or is taken
# out of the settings, is out.

locals {
  callers = {
    for name, url in local.services : name => concat(
      local.functions[name].is_scheduled ? [try("serviceAccount:${google_service_account.helper["scheduler"].email}", "")] : [],
      length(local.functions[name].subscriptions) > 0 ? [try("serviceAccount:${google_service_account.helper["push"].email}", "")] : [],
      local.functions[name].is_public ? sort(var.callers) : [],
    )
  }
  # What the clock calls: each use case, but for those that a function skips.
  called_for = {
    for name, one in local.functions : name => [
      for use_case in sort(var.use_cases) : use_case if !(one.skips_events && try(local.use_cases[use_case].scores_events, false))
    ] if one.per_use_case
  }
  schedules = concat(
    flatten([for name, called in local.called_for : [for one in called : "${local.names[name]}-${replace(one, "_", "-")}"]]),
    [for name, one in local.functions : local.names[name] if one.is_scheduled && !one.per_use_case],
  )
  training_jobs = [for one in lookup(local.called_for, "model_training", []) : "${var.prefix}-training-job-${replace(one, "_", "-")}"]
}

resource "google_cloud_run_v2_service_iam_binding" "invoker" {
  for_each = { for name, members in local.callers : name => members if length(members) > 0 }
  project  = var.project
  location = var.region
  name     = local.names[each.key]
  role     = "roles/run.invoker"
  members  = each.value
}
