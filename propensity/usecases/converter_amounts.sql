-- One row per as-of date and user of label 1; outcomes of this use case have no amount.
-- Parameters: those of labels.sql.
SELECT
  as_of,
  user_id,
  CAST(NULL AS NUMERIC) AS amount
FROM
  (
-- include: labels.sql
  ) AS c
