-- One row per table of the export: when its rows were changed last, and its size.
-- BigQuery bills nothing for it. Parts: the export's list of tables.
SELECT
  table_id,
  TIMESTAMP_MILLIS(last_modified_time) AS modified,
  size_bytes
FROM `tables`
WHERE STARTS_WITH(table_id, 'events_')
