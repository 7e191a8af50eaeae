-- Part of ga_events: one row per event of the tables of a kind, one table a day.
-- No view may match a wildcard, nor a table with other partitions or clusters, whatever
-- the conditions say: so it matches no more than days of this millennium. Copies that
-- people make, such as events_20260301_backup, match and are left out.
-- Parts: the columns that these tables do not have yet.
SELECT
  CONCAT('2', _TABLE_SUFFIX) AS table_suffix,
  days.*`lacking_columns`
FROM `shards` AS days
WHERE
  _TABLE_SUFFIX BETWEEN '0000000' AND '9999999'
  AND LENGTH(_TABLE_SUFFIX) = 7
