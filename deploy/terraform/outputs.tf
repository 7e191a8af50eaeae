output "for_the_owner_of_a_source" {
  description = "Statements that the owner of a source in another project runs, because only the owner may."
  value       = [for one in local.sources : "GRANT `roles/bigquery.dataViewer` ON TABLE `${one.table}` TO \"${one.member}\"" if one.project != var.project]
}

output "for_the_owner_of_the_export" {
  description = "Statements that the owner of an export in another project runs, because only the owner may."
  value = [
    for key, one in local.rights :
    "GRANT `${one.role}` ON SCHEMA `${var.exports[one.export]}` TO \"${one.member}\"" if one.on == "export" && try(local.exports[one.export].is_foreign, false)
  ]
}
