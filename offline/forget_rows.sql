-- Remove the rows of a table that are about some users; see forget_count.sql.
DELETE FROM `some_table`
WHERE
  `every_partition`
  AND `is_about_users`
  AND (@use_case = '' OR `some_use_case` = @use_case)
