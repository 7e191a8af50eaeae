-- One row per as-of date and user of label 1, as in labels.sql, with what the user paid.
-- Source: view ga_events, as of a statement that knows no digest.
WITH
-- include: label_transactions.sql
SELECT
  as_of,
  user_id,
  SUM(amount) AS amount
FROM transactions
GROUP BY as_of, user_id
