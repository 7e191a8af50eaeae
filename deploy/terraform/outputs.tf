# What the scripts read: deploy/setup.sh keeps it where they find it.
output "scripts" {
  description = "Names that deploy.sh and scheduler.sh use, as one map of texts."
  value = merge(
    { for name, one in google_service_account.function : "account_${name}" => one.email },
    { for name, one in google_service_account.helper : "account_${name}" => one.email },
    { for name, called in local.called_for : "use_cases_${name}" => join(" ", called) },
    {
      functions  = join(" ", keys(local.functions))
      repository = local.is_own_repository ? local.repository : try("${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images["images"].repository_id}", "")
      deployed   = var.keep_only_data ? "" : jsonencode(var.deployed)
      # Of operators.
      role_request_sender = try(google_project_iam_custom_role.own["request_sender"].id, "")
      source_grants       = join("; ", [for one in local.sources : "GRANT `roles/bigquery.dataViewer` ON TABLE `${one.table}` TO \"${one.member}\"" if one.project != var.project])
      schedules           = join(" ", local.schedules)
      services            = join(" ", [for name in keys(local.functions) : local.names[name]])
      jobs                = join(" ", concat(local.training_jobs, [for name in keys(local.parts) : local.names[name] if name == "operator"]))
    },
  )
}

output "not_callable" {
  description = "Functions that Cloud Run does not have yet: deploy them, then set up again, and they can be called."
  value       = sort(setsubtract(keys(local.functions), keys(local.services)))
}

output "for_the_owner_of_the_export" {
  description = "Statements that the owner of an export in another project runs, because only the owner may."
  value = [
    for key, one in local.rights :
    "GRANT `${one.role}` ON SCHEMA `${var.exports[one.export]}` TO \"${one.member}\"" if one.on == "export" && try(local.exports[one.export].is_foreign, false)
  ]
}

output "exports_without_days_yet" {
  description = "Exports that had no daily table: these have no view ga_events; set up again when there is one."
  value       = [for suffix, kinds in local.export_kinds : var.exports[suffix] if length(kinds) == 0]
}
