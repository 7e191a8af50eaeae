-- One row: how many rows of a table are about some users.
-- Parameters: those of the condition. The program puts table and condition in.
SELECT
  COUNT(*) AS found
FROM
  some_table
WHERE
  some_condition
