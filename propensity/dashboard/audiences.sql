-- One row per audience and as-of date, newest first: how members were chosen, how many.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  audience,
  as_of,
  MIN(selection) AS selection,
  MIN(control_share) AS control_share,
  COUNT(*) AS members,
  COUNTIF(is_control) AS held_out
FROM ma_audience_members
WHERE as_of BETWEEN @since AND @until
GROUP BY use_case, audience, as_of
ORDER BY as_of DESC, use_case, audience
