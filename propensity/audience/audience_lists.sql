-- One row per audience and destination: users whom it may have on the list.
-- Parameters: @use_case STRING; @as_of DATE, after the deliveries of interest.
-- Source: ma_audience_ledger.
WITH
-- include: users_on_lists.sql
SELECT
  audience,
  destination,
  COUNT(DISTINCT user_id) AS users,
  MAX(as_of) AS as_of
FROM on_lists
GROUP BY audience, destination
ORDER BY audience, destination
