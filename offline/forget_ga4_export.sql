-- Remove some users from every table of a GA4 export, intraday tables too.
-- Parameters: @user_ids ARRAY<STRING>. Export and project are put in before it is shown.
-- Never run by us: the export is the customer's, and Analytics writes it anew for days.
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
END FOR
