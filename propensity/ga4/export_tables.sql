-- One row per table of the export: when it was changed last, be it by a label alone, its
-- size and its rows.
-- BigQuery bills nothing for it. Parts: the export's list of tables.
SELECT
  table_id AS name,
  TIMESTAMP_MILLIS(last_modified_time) AS modified,
  size_bytes,
  row_count
FROM `tables`
WHERE STARTS_WITH(table_id, 'events_')
