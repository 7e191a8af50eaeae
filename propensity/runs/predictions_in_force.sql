-- At most one row: the newest publication at or before the week.
-- Parameters: @use_case STRING; @week DATE; @since DATE, the oldest one of interest.
-- Source: ma_predictions_history.
SELECT
  as_of,
  MAX(model_version) AS model_version,
  MAX(log_odds_shift) AS log_odds_shift,
  MAX(scored_at) AS scored_at
FROM
  ma_predictions_history
WHERE
  use_case = @use_case
  AND as_of BETWEEN @since AND @week
GROUP BY
  as_of
ORDER BY
  as_of DESC
LIMIT
  1
