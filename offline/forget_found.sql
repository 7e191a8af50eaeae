-- One row for each of some users whom a table has.
-- Parameters and parts: as forget_count; some_ids, the columns that name a user.
SELECT DISTINCT found_id AS user_id
FROM `some_table`
CROSS JOIN UNNEST(`some_ids`) AS found_id
WHERE
  `some_partition` >= DATE '1970-01-01'
  -- include: is_about.sql
  AND (@use_case = '' OR `some_use_case` = @use_case)
  AND found_id IN UNNEST(@keys)
