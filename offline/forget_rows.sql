-- Remove the rows of a table that are about some users; see forget_count.
DELETE FROM `some_table`
WHERE
  `some_partition` >= DATE '1970-01-01'
  -- include: is_about.sql
