-- One row per as-of date and user of label 1, as in labels.sql, with what the user paid.
-- Parameters: those of labels.sql.
-- Source: the digest of the export, events in [as_of, as_of + horizon), midnight UTC.
WITH
-- include: label_transactions.sql
SELECT
  as_of,
  user_id,
  SUM(amount) AS amount
FROM transactions
GROUP BY as_of, user_id
