-- Remove some users from every table of a GA4 export, intraday tables too.
-- Parameters: @user_ids ARRAY<STRING>. Export and dataset are put in before it is shown.
-- Never run by us: the export is the customer's, and Analytics writes it anew for days.
-- A day that the digest had read before the users were forgotten stays as it is there,
-- without them: its table is noted as changed by this alone, so that no run reads it again.
CREATE TEMP TABLE tables_before AS
SELECT
  SAFE.PARSE_DATE('%Y%m%d', RIGHT(table_id, 8)) AS export_day,
  table_id,
  TIMESTAMP_MILLIS(last_modified_time) AS modified
FROM `export_dataset`.__TABLES__
WHERE STARTS_WITH(table_id, 'events_');

FOR day IN (
  SELECT table_name
  FROM `export_dataset`.INFORMATION_SCHEMA.TABLES
  WHERE STARTS_WITH(table_name, 'events_')
) DO
  EXECUTE IMMEDIATE
    FORMAT(
      'DELETE FROM `export_dataset`.%s WHERE user_pseudo_id IN UNNEST(@ids) OR user_id IN UNNEST(@ids)',
      day.table_name
    )
    USING @user_ids AS ids;
END FOR;

UPDATE `own_dataset`.ga_digested_days AS d
SET source_modified = t.modified_after
FROM
  (
    SELECT
      b.export_day,
      b.modified,
      TIMESTAMP_MILLIS(a.last_modified_time) AS modified_after
    FROM tables_before AS b
    INNER JOIN `export_dataset`.__TABLES__ AS a ON a.table_id = b.table_id
  ) AS t
WHERE
  d.export_day = t.export_day
  AND d.source_modified = t.modified
  AND d.digested_at < `forgotten_at`
