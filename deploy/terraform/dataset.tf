# The dataset, its tables and its views: users' data, and predictions about them.

resource "google_bigquery_dataset" "this" {
  project                    = var.project
  dataset_id                 = local.dataset
  location                   = var.location
  description                = "Propensity"
  labels                     = local.labels
  delete_contents_on_destroy = var.delete_data
  max_time_travel_hours      = var.time_travel_hours

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key != "" ? [var.kms_key] : []
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
  depends_on = [google_project_service.api, terraform_data.settings]
}

# A column that is added, a description, an expiry: changed in place. What would make a
# table anew, such as another type or another partition, is refused: deletion_protection.
resource "google_bigquery_table" "table" {
  for_each                 = local.tables
  project                  = var.project
  dataset_id               = google_bigquery_dataset.this.dataset_id
  table_id                 = each.key
  description              = each.value.description
  schema                   = jsonencode(each.value.schema)
  clustering               = each.value.clustering
  require_partition_filter = each.value.requires_filter
  labels                   = local.labels
  # The digest of a further export can be made again, and goes with the use case.
  deletion_protection = !var.delete_data && contains(keys(local.plain_tables), each.key)

  dynamic "time_partitioning" {
    for_each = [lookup(var.retention_days, each.key, each.value.expiration_days)]
    content {
      type          = "DAY"
      field         = each.value.partition
      expiration_ms = time_partitioning.value == 0 ? null : time_partitioning.value * 24 * 3600 * 1000
    }
  }
  dynamic "encryption_configuration" {
    for_each = var.kms_key != "" ? [var.kms_key] : []
    content {
      kms_key_name = encryption_configuration.value
    }
  }
  lifecycle {
    # A table that was there before keeps its key.
    ignore_changes = [encryption_configuration]
  }
}

# Views of tables: the newest row of each key, features of the stream.
resource "google_bigquery_table" "view" {
  for_each            = local.views.tables
  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  labels              = local.labels
  deletion_protection = false

  view {
    query          = replace(each.value, "PROJECT.DATASET", "${var.project}.${local.dataset}")
    use_legacy_sql = false
  }
  lifecycle {
    ignore_changes = [schema]
  }
  depends_on = [google_bigquery_table.table]
}

# -- the GA4 exports -----------------------------------------------------------------------

data "google_bigquery_dataset" "export" {
  for_each   = local.exports
  project    = each.value.project
  dataset_id = each.value.dataset
}

data "google_bigquery_tables" "export" {
  for_each   = local.exports
  project    = each.value.project
  dataset_id = each.value.dataset
}

locals {
  elsewhere = [
    for suffix, one in local.exports : "${one.name} is in ${try(data.google_bigquery_dataset.export[suffix].location, "a place unknown")}"
    if try(lower(data.google_bigquery_dataset.export[suffix].location) != lower(var.location), true)
  ]
  export_kinds = {
    for suffix, one in local.exports : suffix => [
      for kind in local.views.kinds_in_order : kind
      if anytrue([for table in try(data.google_bigquery_tables.export[suffix].tables, []) : can(regex(local.views.kinds[kind], table.table_id))])
    ]
  }
  # A view of tables that are not there cannot be made: a new export has none for a day,
  # and a wildcard that matches none is an error, too.
  exports_with_days = { for suffix, kinds in local.export_kinds : "ga_events${suffix}" => merge(local.exports[suffix], { kinds = kinds }) if length(kinds) > 0 }
}

resource "google_bigquery_table" "ga_events" {
  for_each            = local.exports_with_days
  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  description         = "One row per event of the GA4 export that may be read"
  labels              = local.labels
  deletion_protection = false

  view {
    query          = replace(join("\nUNION ALL\n", [for kind in each.value.kinds : local.views.ga_events[kind][var.require_consent]]), "PROJECT.EXPORT", "${each.value.project}.${each.value.dataset}")
    use_legacy_sql = false
  }
  lifecycle {
    ignore_changes = [schema]
  }
}
