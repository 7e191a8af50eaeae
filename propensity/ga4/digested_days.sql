-- One row per day of the export that is in the digest.
SELECT
  export_day,
  source_modified,
  statement,
  consent,
  event_names,
  size_bytes,
  row_count
FROM ga_digested_days
