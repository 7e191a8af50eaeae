-- One row per audience and destination: users whom it may have on the list.
-- Parameters: @use_case STRING.
-- Source: ma_audience_lists.
SELECT
  audience,
  destination,
  COUNT(DISTINCT user_id) AS users,
  MAX(as_of) AS as_of
FROM ma_audience_lists
WHERE use_case = @use_case
GROUP BY audience, destination
ORDER BY audience, destination
