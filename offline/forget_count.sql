-- One row per id in rows of a table that are about some users: how many rows.
-- Parameters: @keys ARRAY<STRING>; @use_case STRING, empty for all. The program puts in
--   the table, the columns with its partitions and with ids, and how its rows are known.
SELECT
  `some_id` AS id,
  `some_other_id` AS other_id,
  COUNT(*) AS found
FROM `some_table`
WHERE
  `some_partition` >= DATE '1970-01-01'
  -- include: is_about.sql
GROUP BY 1, 2
