-- One row: how many rows of a table are about some users.
-- Parameters: @keys ARRAY<STRING>; @use_case STRING, empty for all. The program puts in
--   the table, the column with its partitions, and how its rows are known by the keys.
SELECT COUNT(*) AS found
FROM `some_table`
WHERE
  `some_partition` >= DATE '1970-01-01'
  -- include: is_about.sql
  AND (@use_case = '' OR `some_use_case` = @use_case)
