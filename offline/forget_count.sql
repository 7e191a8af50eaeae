-- One row: how many rows of a table are about some users.
-- Parameters: @keys ARRAY<STRING>; @use_case STRING, empty for all. The program puts in
--   the table, all of its partitions, and how its rows are known by the keys.
SELECT COUNT(*) AS found
FROM `some_table`
WHERE
  `every_partition`
  AND `is_about_users`
  AND (@use_case = '' OR `some_use_case` = @use_case)
