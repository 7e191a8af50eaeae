-- Remove the rows of a table that are about some users.
-- Parameters: those of the condition. The program puts table and condition in.
DELETE FROM
  some_table
WHERE
  some_condition
