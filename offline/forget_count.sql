-- One row: how many rows of a table are about some users.
-- Parameters: @keys ARRAY<STRING>; @use_case STRING, empty for all. The program puts in
--   the table, all of its partitions, and which column has the keys.
SELECT
  COUNT(*) AS found
FROM
  some_table
WHERE
  every_partition
  AND some_column IN UNNEST(@keys)
  AND (@use_case = '' OR some_use_case = @use_case)
