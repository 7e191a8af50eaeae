-- One row per user with label 1 and as-of date: what the outcome was worth.
-- Source: events, as labels.sql reads them.
SELECT
  as_of,
  user_id,
  SUM(amount) AS amount
FROM events
WHERE days_ago <= 0${condition}
GROUP BY as_of, user_id
