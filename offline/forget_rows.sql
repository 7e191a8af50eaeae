-- Remove the rows of a table that are about some users; see forget_count.
DELETE FROM `some_table`
WHERE
  `some_partition` >= DATE '1970-01-01'
  -- include: is_about.sql
  AND (@use_case = '' OR `some_use_case` = @use_case)
